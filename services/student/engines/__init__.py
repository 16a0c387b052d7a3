"""The engines that write with the student model."""
