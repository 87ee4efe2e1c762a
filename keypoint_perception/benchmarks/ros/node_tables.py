"""Markdown tables of ``benchmark node``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import product
from operator import getitem
from typing import Any

from keypoint_perception.benchmarks.ros.node_benchmark import NODES
from keypoint_perception.evaluation.tables import markdown_table, number

Values = Mapping[str, Any]
# Keys of values by the title of their column; dots lead into mappings.
GROWTH = {'memory MB': 'memory_mb.last', 'growth MB/min': 'memory_mb.growth_per_min'}
CASE_COLUMNS = {'image': 'image', 'cameras': 'cameras', 'Hz': 'rate'}
NODE_COLUMNS = {
    **CASE_COLUMNS,
    'node': 'node',
    'received': 'answers',
    **{f'{p} ms': f'latency_ms.{p}' for p in ('p50', 'p95', 'p99')},
    'growth ms/min': 'latency_growth_ms_per_min',
    'CPU ms/answer': 'cpu_ms_per_answer',
    **GROWTH,
}
DIFFERENCE_COLUMNS = {
    **CASE_COLUMNS,
    'p50 above the bare node, ms': 'above_bare_ms',
    'engine p50 alone, ms': 'engine_ms',
    'in the node, ms': 'engine_in_node_ms',
    'beyond the engine, ms': 'beyond_engine_ms',
}
IDLE_COLUMNS = CASE_COLUMNS | {'seconds': 'seconds', '% of a core': 'cpu_percent_of_a_core'}
IDLE_COLUMNS |= GROWTH
OVERLOAD_COLUMNS = {
    'image': 'image',
    'cameras': 'cameras',
    'sent Hz': 'sent_hz',
    'engine ms': 'engine_ms',
    'sent an engine time': 'sent_per_engine_time',
    'answers': 'received',
    **{f'arrive {p} ms': f'latency {p}' for p in ('p50', 'max')},
    **{f'oldest {p} ms': f'newest_age {p}' for p in ('p50', 'max')},
    'growth ms/min': 'latency_growth_ms_per_min',
    **GROWTH,
}


def node_tables(results: Values) -> str:
    """Return all results as tables below a line on their machine and setup."""
    machine = results['machine']
    parts = [
        f'{results["date"]}, {machine["processor"]}, {machine["cores"]} cores; model '
        f'{results["model"]}, engine {results["engine"]} {results["precision"]}, DDS profile '
        f'{results["dds_profile"] or "none"}'
    ]
    if 'cases' in results:
        rows = [case_row(case, name) for case in results['cases'] for name in NODES]
        parts.append(table(NODE_COLUMNS, rows))
        rows = [case_row(case, 'perception') for case in results['cases']]
        parts.append(table(DIFFERENCE_COLUMNS, rows))
    if 'idle' in results:
        idle = results['idle']
        parts.append(table(IDLE_COLUMNS, [{**idle, 'rate': f'{idle["hz"]:g}'}]))
    if 'overload' in results:
        parts.append(table(OVERLOAD_COLUMNS, [overload_row(results['overload'])]))
    return '\n\n'.join(parts) + '\n'


def table(columns: Mapping[str, str], rows: Sequence[Values]) -> str:
    """Return the values of some columns as a table."""
    cells = [[reduce(getitem, key.split('.'), row) for key in columns.values()] for row in rows]
    return markdown_table(list(columns), cells)


def case_row(case: Values, name: str) -> Values:
    """Return the values of a case and of one of its nodes, with the actual rate if it is lower."""
    node, hz = case[name], case['hz']
    if hz is None:
        rate = f'full ({node["sent_hz"]:.0f})'
    elif node['sent_hz'] > 0.95 * hz:
        rate = f'{hz:g}'
    else:
        rate = f'{hz:g} ({node["sent_hz"]:.0f} sent)'
    answers = f'{node["received"]} of {node["sent"]}'
    return {**case, **node, 'node': name, 'rate': rate, 'answers': answers}


def overload_row(overload: Values) -> Values:
    """Return the values of an overload, ages with multiples of the engine's time in brackets."""
    ages = {}
    for age, name in product(('latency', 'newest_age'), ('p50', 'max')):
        keys = (f'{age}_ms', f'{age}_in_engine_times')
        in_ms, multiple = (number(overload[key][name], '.2f') for key in keys)
        ages[f'{age} {name}'] = f'{in_ms} ({multiple})'
    return {**overload, **ages}
