"""A development server that speaks TensorFlow Serving's gRPC and REST on TensorFlow's runtime."""
