"""Millions of short connections at a bounded rate, most of them opened by the kernel, and then a verdict.

- `load`: wrk, which opens them. `site`: the services that they are for. `shares`: what each real server should have got. Pure.
- `verdict`: what is wrong: shares, memory, and what the gateway says of its own tables (`/stats/consistency`). Pure.
"""
