"""What an export is asked for and may not be: another task than the weights', an image size that would be rounded."""

from yolo_operator.core.contract import Task
from yolo_operator.core.errors import InvalidSpec

LARGEST = 8192


def check_task(found: str, wanted: Task | None) -> Task:
    """The weights' task. Raises InvalidSpec NotYoloWeights for one that is not served, TaskMismatch."""
    if found not in set(Task):
        raise InvalidSpec("NotYoloWeights", f"the weights are for {found[:40]!r}; served are {', '.join(Task)}")
    if wanted is not None and wanted != found:
        raise InvalidSpec("TaskMismatch", f"the weights are for {found}, spec.task says {wanted}: set it to {found}, or take other weights")
    return Task(found)


def check_image_size(wanted: tuple[int, int] | None, own: tuple[int, int], stride: int) -> tuple[int, int]:
    """Height and width to export at. Raises InvalidSpec ImageSizeInvalid: Ultralytics would round and serve another size."""
    height, width = wanted or own
    for pixels in (height, width):
        if not 1 <= pixels <= LARGEST or pixels % max(stride, 1):
            nearest = min(max(-(-pixels // stride), 1) * stride, LARGEST // stride * stride)
            raise InvalidSpec(
                "ImageSizeInvalid",
                f"spec.versions[].export.imageSize: {pixels} is not a multiple of the weights' stride {stride} within {LARGEST}; the nearest is {nearest}",
            )
    return height, width
