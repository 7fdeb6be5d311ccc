"""config.pbtxt through Triton's own schema: the plain values of core/triton/config.py to text, byte for byte the same each time."""

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from yolo_operator.core.triton.config import DynamicBatching, ModelConfig, Port


def render(config: ModelConfig) -> str:
    """The file's text. Map entries are sorted by protobuf; `max_batch_size: 0`, which protobuf leaves out, is written."""
    text: str = text_format.MessageToString(message(config), as_utf8=True)
    if config.max_batch_size == 0:
        text = text.replace("input {", "max_batch_size: 0\ninput {", 1)
    return text


def parse(text: str) -> pb.ModelConfig:
    """The file as Triton reads it. Raises text_format.ParseError."""
    return text_format.Parse(text, pb.ModelConfig())


def message(config: ModelConfig) -> pb.ModelConfig:
    """The values as Triton's message."""
    result = pb.ModelConfig(
        name=config.name,
        platform=config.platform,
        backend=config.backend,
        max_batch_size=config.max_batch_size,
        default_model_filename=config.default_model_filename,
    )
    result.version_policy.specific.versions.append(config.version)
    for given in config.inputs:
        result.input.add(name=given.name, data_type=datatype(given), dims=given.dims)
    for given in config.outputs:
        result.output.add(name=given.name, data_type=datatype(given), dims=given.dims)
    if config.instances:
        result.instance_group.add(count=config.instances, kind=pb.ModelInstanceGroup.Kind.Value(config.kind))
    for step in config.steps:
        result.ensemble_scheduling.step.add(model_name=step.model, model_version=-1, input_map=step.inputs, output_map=step.outputs)
    if config.dynamic_batching is not None:
        add_batching(result, config.dynamic_batching)
    for name, parameters in config.gpu_accelerators.items():
        accelerator = result.optimization.execution_accelerators.gpu_execution_accelerator.add(name=name)
        for key, value in parameters.items():
            accelerator.parameters[key] = value
    add_warmups(result, config)
    for key, value in config.parameters.items():
        result.parameters[key].string_value = value
    return result


def add_batching(result: pb.ModelConfig, wanted: DynamicBatching) -> None:
    """The dynamic batcher, and the policy of its queue."""
    batching = result.dynamic_batching
    batching.SetInParent()
    batching.preferred_batch_size.extend(wanted.preferred_batch_sizes)
    batching.max_queue_delay_microseconds = wanted.max_queue_delay_microseconds
    if wanted.queue_policy is not None:
        policy = batching.default_queue_policy
        policy.SetInParent()
        policy.max_queue_size = wanted.queue_policy.max_queue_size
        policy.default_timeout_microseconds = wanted.queue_policy.timeout_microseconds
        policy.timeout_action = pb.ModelQueuePolicy.TimeoutAction.Value(wanted.queue_policy.timeout_action)
        policy.allow_timeout_override = wanted.queue_policy.allow_timeout_override


def add_warmups(result: pb.ModelConfig, config: ModelConfig) -> None:
    """One sample per batch size; Triton repeats the picture's bytes itself."""
    for warmup in config.warmups:
        sample = result.model_warmup.add(name=warmup.name, batch_size=warmup.batch_size)
        for given in warmup.inputs:
            tensor = sample.inputs[given.name]
            tensor.data_type = datatype(given)
            tensor.dims.extend(given.dims)
            if warmup.file:
                tensor.input_data_file = warmup.file
            else:
                tensor.zero_data = True


def datatype(port: Port) -> int:
    """KServe's FP32 is Triton's TYPE_FP32, its BYTES TYPE_STRING."""
    value: int = pb.DataType.Value("TYPE_STRING" if port.datatype == "BYTES" else f"TYPE_{port.datatype}")
    return value
