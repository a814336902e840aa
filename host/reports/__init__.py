"""What is known before and after a run: cycles, memory, area, speed, differences between engines."""
