"""How the panels ask. Counters are summed over the processes; gauges that are read from the store are the same in
each, so the largest is taken.
"""

AGENT = 'agent=~"$agent"'


def counted(name: str, labels: str = "", *, by: str = "", within: str = "$__range") -> str:
    """Return how often something was counted.

    `increase` does not see the count with which a series begins, and one of rare labels begins with what matters:
    the whole of a series that was not there before is added.
    """
    chosen = f"{name}{{{labels}}}" if labels else name
    begun = f"({chosen} unless max_over_time({chosen}[{within}] offset {within}))"
    return f"sum{_by(by)} ({begun} or increase({chosen}[{within}]))"


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""


def quantile(share: float, metric: str, labels: str, *, within: str, by: str = "") -> str:
    """Return the time that this share of what was observed stayed under, by label if one is given."""
    buckets = counted(f"{metric}_bucket", labels, by=f"{by}, le" if by else "le", within=within)
    return f"histogram_quantile({share}, {buckets})"
