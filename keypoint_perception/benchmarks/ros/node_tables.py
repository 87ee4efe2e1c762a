"""Markdown tables of ``benchmark node``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keypoint_perception.benchmarks.ros.node_benchmark import NODES
from keypoint_perception.evaluation.tables import markdown_table, number


def node_tables(results: Mapping[str, Any]) -> str:
    """Return all results as tables below a line on their machine and setup."""
    machine = results['machine']
    parts = [
        f'{results["date"]}, {machine["processor"]}, {machine["cores"]} cores; model '
        f'{results["model"]}, engine {results["engine"]} {results["precision"]}, DDS profile '
        f'{results["dds_profile"] or "none"}'
    ]
    if 'cases' in results:
        parts += [node_table(results['cases']), difference_table(results['cases'])]
    if 'idle' in results:
        parts.append(idle_table(results['idle']))
    if 'overload' in results:
        parts.append(overload_table(results['overload']))
    return '\n\n'.join(parts) + '\n'


def node_table(cases: Sequence[Mapping[str, Any]]) -> str:
    """Return losses, latency and cost, a row for each case and node."""
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
    return markdown_table(titles, rows)


def rate(case: Mapping[str, Any], node: Mapping[str, Any]) -> str:
    """Return the requested image rate, and the actual one where it is lower."""
    if case['hz'] is None:
        return f'full ({node["sent_hz"]:.0f})'
    reached = node['sent_hz'] > 0.95 * case['hz']
    return f'{case["hz"]:g}' if reached else f'{case["hz"]:g} ({node["sent_hz"]:.0f} sent)'


def difference_table(cases: Sequence[Mapping[str, Any]]) -> str:
    """Return the node's latency beyond the bare node's and beyond the engine's, by case."""
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
    return markdown_table(titles, rows)


def idle_table(idle: Mapping[str, Any]) -> str:
    """Return the cost of an idle node."""
    titles = ('image', 'cameras', 'Hz', 'seconds', '% of a core', 'memory MB', 'growth MB/min')
    row = (
        *(idle['image'], idle['cameras'], f'{idle["hz"]:g}', idle['seconds']),
        idle['cpu_percent_of_a_core'],
        *(idle['memory_mb'][name] for name in ('last', 'growth_per_min')),
    )
    return markdown_table(titles, [row])


def overload_table(overload: Mapping[str, Any]) -> str:
    """
    Return age at arrival and largest age of an overloaded node's keypoints, and its memory.

    Values in brackets are multiples of the engine's time.
    """
    titles = (
        *('image', 'cameras', 'sent Hz', 'engine ms', 'sent an engine time', 'answers'),
        *('arrive p50 ms', 'arrive max ms', 'oldest p50 ms', 'oldest max ms'),
        *('growth ms/min', 'memory MB', 'growth MB/min'),
    )
    ages = []
    for age in ('latency', 'newest_age'):
        in_ms, in_engine_times = overload[f'{age}_ms'], overload[f'{age}_in_engine_times']
        ages += [
            f'{number(in_ms[n], ".2f")} ({number(in_engine_times[n], ".2f")})'
            for n in ('p50', 'max')
        ]
    row = (
        *(overload['image'], overload['cameras'], overload['sent_hz'], overload['engine_ms']),
        *(overload['sent_per_engine_time'], overload['received'], *ages),
        overload['latency_growth_ms_per_min'],
        *(overload['memory_mb'][name] for name in ('last', 'growth_per_min')),
    )
    return markdown_table(titles, [row])
