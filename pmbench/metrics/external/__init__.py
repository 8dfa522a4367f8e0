"""Metrics that are not registered: a module for each kind of address.

Each has ``resolve(name, address, options) -> Metric``, where ``name`` is what the metric will be
called, ``address`` what follows the colon, and ``options`` what follows a question mark;
``python_file.resolve`` returns a list, since a file may hold several metrics. What the user got
wrong raises PmbenchError; what foreign code does wrong makes a metric that fails alone.
"""
