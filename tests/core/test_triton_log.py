"""Which of Triton's last lines names the cause. The texts are what Triton 24.10 wrote with the operator's flags, cut as the kubelet cuts them."""

import pytest

from yolo_operator.core import triton_log

WITHOUT_A_GPU = (
    'W1125 01:57:15.360951 10553 pinned_memory_manager.cc:273] "Unable to allocate pinned system memory, pinned memory pool will not be available: CUDA driver version is insufficient for CUDA runtime version"\n'
    'E1125 01:57:15.361133 10553 server.cc:241] "CudaDriverHelper has not been initialized."\n'
)
"""What every server without a GPU says first."""
LAST = (
    "Error: Failed to initialize NVML\n"
    'W1125 01:57:17.365084 10553 metrics.cc:798] "DCGM unable to start: DCGM initialization error"\n'
    "error: creating server: Internal - failed to load all models"
)

ENDS = [
    pytest.param(
        "E1125 02:00:11.952144 14566 backend_model.cc:692] \"ERROR: Failed to create instance: TritonModelException: model 'helmet', tensor 'output0': the model expects 3 dimensions (shape [-1,6,-1]) but the model configuration specifies 3 dimensions (an initial batch dimension because max_batch_size > 0 followed by the explicit tensor shape, making complete shape [-1,7,-1])\\n\\nAt:\\n  /opt/tritonserver/backends/onnxruntime/model.py(27): _fail\\n  /opt/tritonserver/backends/onnxruntime/model.py(158): _check\\n  /opt/tritonserver/backends/onnxruntime/model.py(135): initialize\\n\"\n"
        "E1125 02:00:11.962244 14566 model_lifecycle.cc:642] \"failed to load 'helmet' version 1: Internal: TritonModelException: model 'helmet', tensor 'output0': the model expects 3 dimensions (shape [-1,6,-1]) but the model configuration specifies 3 dimensions (an initial batch dimension because max_batch_size > 0 followed by the explicit tensor shape, making complete shape [-1,7,-1])\\n\\nAt:\\n  /opt/tritonserver/backends/onnxruntime/model.py(27): _fail\\n  /opt/tritonserver/backends/onnxruntime/model.py(158): _check\\n  /opt/tritonserver/backends/onnxruntime/model.py(135): initialize\\n\"\n"
        + LAST,
        "failed to load 'helmet' version 1: Internal: TritonModelException: model 'helmet', tensor 'output0': the model expects 3 dimensions",
        "spec.versions[].rebuild",
        id="other output dimensions",
    ),
    pytest.param(
        'E1125 02:00:15.061301 14619 backend_model.cc:692] "ERROR: Failed to create instance: TritonModelException: onnx runtime error: [ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from /tmp/folder2Nc2yw/1/model.onnx failed:Protobuf parsing failed.\\n\\nAt:\\n  /opt/tritonserver/backends/onnxruntime/model.py(27): _fail\\n  /opt/tritonserver/backends/onnxruntime/model.py(93): _open\\n  /opt/tritonserver/backends/onnxruntime/model.py(128): initialize\\n"\n'
        "E1125 02:00:15.064985 14619 model_lifecycle.cc:642] \"failed to load 'helmet' version 1: Internal: TritonModelException: onnx runtime error: [ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from /tmp/folder2Nc2yw/1/model.onnx failed:Protobuf parsing failed.\\n\\nAt:\\n  /opt/tritonserver/backends/onnxruntime/model.py(27): _fail\\n  /opt/tritonserver/backends/onnxruntime/model.py(93): _open\\n  /opt/tritonserver/backends/onnxruntime/model.py(128): initialize\\n\"\n"
        + LAST,
        "failed:Protobuf parsing failed.",
        "what is published is not whole any more",
        id="a truncated ONNX",
    ),
    pytest.param(
        'E1125 02:00:20.133825 14656 backend_model.cc:692] "ERROR: Failed to create instance: [request id: <id_unknown>] warmup setting expects 49152 bytes, but the data provided from goldenonly has 3 bytes"\n'
        "E1125 02:00:20.137341 14656 model_lifecycle.cc:642] \"failed to load 'helmet' version 1: Invalid argument: [request id: <id_unknown>] warmup setting expects 49152 bytes, but the data provided from goldenonly has 3 bytes\"\n"
        + LAST,
        "failed to load 'helmet' version 1: Invalid argument: [request id: <id_unknown>] warmup setting expects 49152 bytes",
        "spec.triton.warmup",
        id="a warm-up that fails",
    ),
    pytest.param(
        "E1125 02:00:22.375417 14801 model_lifecycle.cc:123] \"version 1 is specified for model 'helmet', but the version directory is not present\"\n"
        "E1125 02:00:22.375457 14801 model_repository_manager.cc:724] \"failed to load model 'helmet': at least one version must be available under the version policy of model 'helmet'\"\n"
        + LAST,
        "version 1 is specified for model 'helmet', but the version directory is not present",
        "spec.versions[].rebuild",
        id="a missing file",
    ),
    pytest.param(
        '[libprotobuf ERROR text_format.cc:337] Error parsing text-format inference.ModelConfig: 2:9: Message type "inference.ModelConfig" has no field named "platfrom".\n'
        "E1125 02:00:25.276737 14815 model_repository_manager.cc:1460] \"Poll failed for model directory 'helmet': failed to read text proto from s3://http://s3:8333/models/t/badconfig/0123456789/helmet/config.pbtxt\"\n"
        + LAST,
        "Poll failed for model directory 'helmet': failed to read text proto",
        "spec.versions[].rebuild",
        id="a config.pbtxt that is none",
    ),
    pytest.param(
        "E1125 02:00:27.589280 14828 model_lifecycle.cc:642] \"failed to load 'helmet' version 1: Invalid argument: unable to find backend library for backend 'tensorrt', try specifying runtime on the model configuration.\"\n"
        + LAST,
        "unable to find backend library for backend 'tensorrt'",
        "spec.triton.image",
        id="an image without the backend",
    ),
    pytest.param(
        "Error: Failed to initialize NVML\n"
        'W1125 02:00:28.358533 14839 metrics.cc:798] "DCGM unable to start: DCGM initialization error"\n'
        "error: creating server: Internal - Unable to create S3 filesystem client. Check account credentials. Exception: '' Message: 'No response body.'",
        "Unable to create S3 filesystem client. Check account credentials.",
        "spec.storage.endpoint, the bucket and the keys",
        id="a storage that refuses",
    ),
    pytest.param(
        "Error: Failed to initialize NVML\n"
        'W1125 02:01:23.107676 14888 metrics.cc:798] "DCGM unable to start: DCGM initialization error"\n'
        "error: creating server: Internal - Unable to create S3 filesystem client. Check account credentials. Exception: '' Message: 'curlCode: 7, Couldn't connect to server'",
        "Couldn't connect to server",
        "spec.storage.endpoint cannot be reached",
        id="a storage that is not there",
    ),
    pytest.param(
        "Error: Failed to initialize NVML\n"
        'W1125 02:00:30.195607 14851 metrics.cc:798] "DCGM unable to start: DCGM initialization error"\n'
        "error: creating server: Invalid argument - repository path is not a valid directory",
        "Invalid argument - repository path is not a valid directory",
        "spec.storage.endpoint, the bucket and the keys",
        id="a prefix without anything",
    ),
]


@pytest.mark.parametrize(("end", "cause", "remedy"), ENDS)
def test_the_line_that_names_the_cause_is_told_with_the_field_to_look_at(end, cause, remedy):
    said = triton_log.cause((WITHOUT_A_GPU + end)[-2048:])
    assert cause in said
    assert remedy in triton_log.hint(said)
    assert "\n" not in said
    assert "model.py(" not in said, "no traceback"
    assert "CUDA" not in said


def test_a_line_that_is_cut_at_its_beginning_is_still_found():
    end = "odel_lifecycle.cc:642] \"failed to load 'm' version 1: Internal: out of memory\"\n" + LAST
    assert triton_log.cause(end) == "failed to load 'm' version 1: Internal: out of memory"


def test_a_table_alone_tells_where_to_look():
    end = "   |\n| strict_readiness | 1 |\n+------+----+\n\nerror: creating server: Internal - failed to load all models"
    said = triton_log.cause(end)
    assert said == "error: creating server: Internal - failed to load all models"
    assert "kubectl logs --previous" in triton_log.hint(said)


@pytest.mark.parametrize("end", ["", "Segmentation fault (core dumped)", "x" * 5000])
def test_other_last_words_are_shown_as_they_are(end):
    assert triton_log.cause(end) == end[-triton_log.SHOWN :]
    assert triton_log.hint(end) == ""
