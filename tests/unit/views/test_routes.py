"""views/routes.py: the list of routes, letter by letter."""

from appliance.views.routes import index


def test_index() -> None:
    document = index([("/", "GET", "this list"), ("/sysctl/{name}", "GET, PUT", "one")])
    assert (
        document.text
        == """\
path            methods   summary
/               GET       this list
/sysctl/{name}  GET, PUT  one
"""
    )
    assert document.data[1] == {"path": "/sysctl/{name}", "methods": "GET, PUT", "summary": "one"}
