"""What writes with the student model."""
