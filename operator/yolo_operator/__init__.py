"""One kubectl apply turns YOLO weights into a verified, versioned, GPU-scheduled Triton service."""

__version__ = "0.1.0"
