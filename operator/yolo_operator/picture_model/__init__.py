"""What Triton runs for `<model>-pictures`: a picture's file in, its detections out. Published beside the model as it is here.

It runs in Triton's Python backend, whose Python (3.10 or later) has NumPy; OpenCV comes with the Pod (worker/decoder.py). So nothing here imports anything else
of this project.
"""
