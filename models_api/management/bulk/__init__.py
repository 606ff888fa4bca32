"""What the command `predict` puts together: its options, what predicts, the files of the job."""
