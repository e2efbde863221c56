"""What every stage runs on: processes, files, console, TensorBoard, watchdog."""
