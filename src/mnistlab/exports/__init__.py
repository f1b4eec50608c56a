"""Runs for other programs: ONNX, TensorBoard, MLflow, CSV. Read from run folders alone."""
