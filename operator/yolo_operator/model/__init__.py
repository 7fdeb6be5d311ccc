"""What the exporter and the workers both know about a model's files: the ONNX, the golden picture, equal answers.

Uses numpy and onnx; opens no connection and knows neither Ultralytics nor S3 nor Triton.
"""
