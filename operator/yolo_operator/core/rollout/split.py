"""Sharing pods out among versions."""

from collections.abc import Sequence
from fractions import Fraction


def split(total: int, weights: Sequence[int]) -> list[int]:
    """Share `total` pods out by weight: largest remainder, at least one for every weight above 0 (if there is any pod at all).

    More than `total` come out only where it is less than the number of such weights.

    >>> split(3, [1, 1])
    [2, 1]
    >>> split(1, [1, 1])
    [1, 1]
    >>> split(10, [99, 1])
    [9, 1]
    """
    if total == 0 or not any(weights):
        return [0] * len(weights)
    shares = [max(share, 1) if weight else 0 for share, weight in zip(largest_remainder(total, weights), weights, strict=True)]
    while sum(shares) > total and max(shares) > 1:
        shares[shares.index(max(shares))] -= 1
    return shares


def largest_remainder(total: int, parts: Sequence[int | Fraction]) -> list[int]:
    """Whole numbers with the sum `total`, in proportion to the parts as well as may be.

    >>> largest_remainder(100, [1, 1, 1])
    [34, 33, 33]
    """
    exact = [Fraction(total * part) / sum(parts) for part in parts]
    shares = [int(share) for share in exact]
    by_remainder = sorted(range(len(parts)), key=lambda i: (shares[i] - exact[i], i))
    for i in by_remainder[: total - sum(shares)]:
        shares[i] += 1
    return shares


def beside(stable: int, weight: int) -> int:
    """Pods that have `weight` percent of the requests beside `stable` others that stay: at least one, and never more than those.

    >>> beside(9, 10)
    1
    >>> beside(3, 50)
    3
    >>> beside(3, 100)
    3
    """
    return stable if weight >= 50 else max(1, round(stable * weight / (100 - weight)))


def too_coarse(stable: int, weight: int) -> bool:
    """Whether even one pod beside `stable` others would have more than twice `weight` percent of the requests.

    >>> too_coarse(3, 5), too_coarse(3, 20), too_coarse(1, 25)
    (True, False, False)
    """
    pods = beside(stable, weight)
    return 100 * pods > 2 * weight * (stable + pods)
