"""TensorFlow Serving's protocol from the outside: what a server must answer, whichever it is.

The tests know an address and nothing else. In this order it is

1. `TF_SERVING_ADDRESS`, as `host:grpc_port:rest_port`, such as `127.0.0.1:8500:8501`: a server that
   runs already, of the models that these two commands write and serve:

       python -m tests.export.conformance.models /models
       tensorflow_model_server --model_config_file=/models/models.config \
           --allow_version_labels_for_unavailable_models --port=8500 --rest_api_port=8501

   (a second argument says where the server finds the folder, should that be elsewhere);
2. `tensorflow_model_server`, if it is on the PATH, started on models of its own;
3. the development server.

The ids of the cases are C (examples in JSON), G (gRPC), J (JSON to tensors), R (REST's paths) and
T (tensors to JSON). A case that is marked `dev_server_lacks` must fail on the development server,
and must pass on any other. Cases that count in the model `counter` need a server for themselves.
"""
