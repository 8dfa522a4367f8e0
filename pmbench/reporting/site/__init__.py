"""The report: boards, distances and images -> a static site that works offline.

``sections`` collects plain values, ``summary`` says them in sentences, ``figures`` draws them,
``gallery`` chooses the items worth looking at, ``pages`` fills the templates, ``build`` writes the
folder. Nothing is computed here that a run does not hold, and nothing is fetched.
"""
