"""Sharing pods out among versions."""

from collections.abc import Sequence


def split(total: int, weights: Sequence[int]) -> list[int]:
    """Share `total` pods out by weight: largest remainder, at least one for every weight above 0 (if there is any pod at all).

    >>> split(3, [1, 1])
    [2, 1]
    >>> split(1, [1, 1])
    [1, 1]
    >>> split(10, [90, 10])
    [9, 1]
    """
    if total == 0 or not any(weights):
        return [0] * len(weights)
    exact = [total * weight / sum(weights) for weight in weights]
    shares = [int(share) for share in exact]
    by_remainder = sorted(range(len(weights)), key=lambda i: (shares[i] - exact[i], i))
    for i in by_remainder[: total - sum(shares)]:
        shares[i] += 1
    return [max(share, 1) if weight else 0 for share, weight in zip(shares, weights, strict=True)]
