"""What ``benchmark node`` measured, as Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence

NODES = ('bare', 'perception')


def tables(measured: dict) -> str:
    """Return everything that was measured, with the machine above it."""
    machine = measured['machine']
    about = (
        f'{measured["date"]}, {machine["processor"]}, {machine["cores"]} cores; model '
        f'{measured["model"]}, engine {measured["engine"]} {measured["precision"]}, DDS profile '
        f'{measured["dds_profile"] or "none"}'
    )
    parts = [about]
    if 'cases' in measured:
        parts += [node_table(measured['cases']), difference_table(measured['cases'])]
    if 'idle' in measured:
        parts.append(idle_table(measured['idle']))
    if 'overload' in measured:
        parts.append(overload_table(measured['overload']))
    return '\n\n'.join(parts) + '\n'


def node_table(cases: Sequence[dict]) -> str:
    """Return a row a node and case: what arrived, how late, at what cost."""
    titles = (
        *('image', 'cameras', 'Hz', 'node', 'received', 'p50 ms', 'p95 ms', 'p99 ms'),
        *('growth ms/min', 'CPU ms/answer', 'memory MB', 'growth MB/min'),
    )
    rows = []
    for case in cases:
        for name in NODES:
            node = case[name]
            latency, memory = node['latency_ms'], node['memory_mb']
            rows.append(
                (
                    *(case['image'], case['cameras'], rate(case, node), name),
                    f'{node["received"]} of {node["sent"]}',
                    *(latency[p] for p in ('p50', 'p95', 'p99')),
                    node['latency_growth_ms_per_min'],
                    node['cpu_ms_per_answer'],
                    *(memory['last'], memory['growth_per_min']),
                )
            )
    return markdown(titles, rows)


def rate(case: dict, node: dict) -> str:
    """Return the images a second that were asked for, and what was sent where that is less."""
    if case['hz'] is None:
        return f'full ({node["sent_hz"]:.0f})'
    kept = node['sent_hz'] > 0.95 * case['hz']
    return f'{case["hz"]:g}' if kept else f'{case["hz"]:g} ({node["sent_hz"]:.0f} sent)'


def difference_table(cases: Sequence[dict]) -> str:
    """Return a row a case: what the node takes above the bare node, and beyond the engine."""
    titles = (
        *('image', 'cameras', 'Hz', 'p50 above the bare node, ms', 'engine p50 alone, ms'),
        *('in the node, ms', 'beyond the engine, ms'),
    )
    names = ('above_bare_ms', 'engine_ms', 'engine_in_node_ms', 'beyond_engine_ms')
    rows = [
        (
            *(case['image'], case['cameras'], rate(case, case['perception'])),
            *(case[name] for name in names),
        )
        for case in cases
    ]
    return markdown(titles, rows)


def idle_table(idle: dict) -> str:
    """Return the row of a node that nobody listens to."""
    titles = ('image', 'cameras', 'Hz', 'seconds', '% of a core', 'memory MB', 'growth MB/min')
    row = (
        *(idle['image'], idle['cameras'], f'{idle["hz"]:g}', idle['seconds']),
        idle['cpu_percent_of_a_core'],
        *(idle['memory_mb'][name] for name in ('last', 'growth_per_min')),
    )
    return markdown(titles, [row])


def overload_table(overload: dict) -> str:
    """
    Return the row of a node with too many images; ages in engine times stand in brackets.

    Keypoints are oldest when newer ones come; how old they are when they come stands beside it.
    """
    titles = (
        *('image', 'cameras', 'sent Hz', 'engine ms', 'sent an engine time', 'answers'),
        *('arrive p50 ms', 'arrive max ms', 'oldest p50 ms', 'oldest max ms'),
        *('growth ms/min', 'memory MB', 'growth MB/min'),
    )
    ages = []
    for age in ('latency', 'newest_age'):
        in_ms, in_engine_times = overload[f'{age}_ms'], overload[f'{age}_in_engine_times']
        ages += [f'{cell(in_ms[n])} ({cell(in_engine_times[n])})' for n in ('p50', 'max')]
    row = (
        *(overload['image'], overload['cameras'], overload['sent_hz'], overload['engine_ms']),
        *(overload['sent_per_engine_time'], overload['received'], *ages),
        overload['latency_growth_ms_per_min'],
        *(overload['memory_mb'][name] for name in ('last', 'growth_per_min')),
    )
    return markdown(titles, [row])


def markdown(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table with its columns aligned, for the terminal too."""
    lines = [list(titles), *([cell(value) for value in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    lines.insert(1, ['-' * width for width in widths])
    shown = (
        ' | '.join(value.ljust(width) for value, width in zip(line, widths, strict=True))
        for line in lines
    )
    return '\n'.join(f'| {line} |' for line in shown)


def cell(value: object) -> str:
    """Return a value as it stands in a table."""
    if value is None:
        return '-'
    return f'{value:.2f}' if isinstance(value, float) else str(value)
