"""Serves SavedModels as TensorFlow Serving does: PredictionService/Predict and ModelService/GetModelStatus, by the official stubs.

    python serve.py --listen 127.0.0.1:8500 --model chitchat=DIR      (DIR/1, DIR/2… are its versions; the highest is served)

For tests and the demo, where tensorflow_model_server cannot be installed. Deploy/ runs the real one.
"""

import argparse
import concurrent.futures
import pathlib
import signal
import threading
import time

import grpc
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc, predict_pb2, prediction_service_pb2_grpc


def packed(strings):
    """A string tensor in its packed form: all lengths as varints, then all bytes."""
    content = b""
    for text in strings:
        length = len(text)
        while length >= 0x80:
            content += bytes([length & 0x7F | 0x80])
            length >>= 7
        content += bytes([length])
    return tensor_pb2.TensorProto(
        dtype=tf.string.as_datatype_enum, tensor_shape=tf.TensorShape([len(strings)]).as_proto(), tensor_content=content + b"".join(strings))


class Models:
    def __init__(self, folders):
        self.loaded = {}
        for name, folder in folders:
            versions = sorted(int(path.name) for path in pathlib.Path(folder).iterdir() if path.name.isdigit())
            if not versions:
                raise SystemExit(f"{folder} has no version; a folder such as {folder}/1 is expected")
            self.loaded[name] = (versions[-1], tf.saved_model.load(f"{folder}/{versions[-1]}"))

    def find(self, spec, context):
        if spec.name not in self.loaded:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({spec.name})")
        version, model = self.loaded[spec.name]
        if spec.HasField("version") and spec.version.value != version:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Specific({spec.name}, {spec.version.value})")
        return version, model


class Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, models, delay, packs):
        self.models = models
        self.delay = delay
        self.packs = packs

    def Predict(self, request, context):
        time.sleep(self.delay)
        version, model = self.models.find(request.model_spec, context)
        name = request.model_spec.signature_name or "serving_default"
        if name not in model.signatures:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"Serving signature name: \"{name}\" not found in signature def")
        signature = model.signatures[name]
        expected = signature.structured_input_signature[1]
        if set(request.inputs) != set(expected):
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"input size does not match signature: {sorted(request.inputs)} was sent, {sorted(expected)} is expected")
        outputs = signature(**{name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()})
        response = predict_pb2.PredictResponse(model_spec=request.model_spec)
        response.model_spec.version.value = version
        response.model_spec.signature_name = name
        for name, value in outputs.items():
            value = value.numpy()
            if self.packs and value.dtype == object:
                response.outputs[name].CopyFrom(packed(value.tolist()))
            else:
                response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response


class Status(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, models):
        self.models = models

    def GetModelStatus(self, request, context):
        version, _ = self.models.find(request.model_spec, context)
        available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        return get_model_status_pb2.GetModelStatusResponse(
            model_version_status=[get_model_status_pb2.ModelVersionStatus(version=version, state=available)])


def main():
    parser = argparse.ArgumentParser(description="Serves SavedModels as TensorFlow Serving does.")
    parser.add_argument("--listen", default="127.0.0.1:8500", help="HOST:PORT; port 0 for a free one")
    parser.add_argument("--model", action="append", required=True, metavar="NAME=DIR")
    parser.add_argument("--delay-ms", type=int, default=0, help="answer so late, to see what a slow server does")
    parser.add_argument("--packed", action="store_true", help="answer with strings in tensor_content")
    arguments = parser.parse_args()
    models = Models([model.split("=", 1) for model in arguments.model])
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        Prediction(models, arguments.delay_ms / 1000, arguments.packed), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(Status(models), server)
    for _, model in models.loaded.values():
        signature = model.signatures["serving_default"]
        # The first call is slow; it is made before anyone waits for it.
        signature(**{key: tf.constant([""]) for key in signature.structured_input_signature[1]})
    port = server.add_insecure_port(arguments.listen)
    server.start()
    print(f"listening grpc={arguments.listen.rsplit(':', 1)[0]}:{port}", flush=True)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()
    server.stop(1).wait()


if __name__ == "__main__":
    main()
