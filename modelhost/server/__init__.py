"""What serving processes need besides the server itself."""
