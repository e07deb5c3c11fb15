# TensorFlow Serving with the model of small talk. Make the model first (see Training/chitchat/README.md): Deploy/docker/chitchat is the folder that holds 1/saved_model.pb.
#   docker build -f Deploy/docker/chitchat.Dockerfile -t kefu/chitchat Deploy/docker
# For GPUs: --build-arg SERVING_IMAGE=tensorflow/serving:2.19.1-gpu
ARG SERVING_IMAGE=tensorflow/serving:2.19.1
FROM ${SERVING_IMAGE}
COPY chitchat /models/chitchat
USER 65532:65532
EXPOSE 8500 8501
ENTRYPOINT ["tensorflow_model_server"]
CMD ["--port=8500", "--rest_api_port=8501", "--model_name=chitchat", "--model_base_path=/models/chitchat"]
