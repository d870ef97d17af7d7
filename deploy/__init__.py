"""What is needed around a gateway to run it: nothing here is imported by it."""
