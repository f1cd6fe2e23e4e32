"""The reference pages of the manual, docs/reference/*.md, written from the lists in the code: `python -m tools.reference`.

One module for each page. Each has `entries()`, what the page describes, and `page()`, its text in Markdown. The pages are kept in
the repository, so that they can be read and linked to without building the manual; a test compares them with the code.
"""
