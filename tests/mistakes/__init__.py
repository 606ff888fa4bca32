"""What people do wrong, and the sentence that each mistake gets: what, where, how to mend it."""
