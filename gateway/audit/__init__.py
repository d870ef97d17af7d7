"""What the gateway has answered, written down so that nothing of it can be changed unseen, and judged by samples."""
