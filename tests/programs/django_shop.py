"""Django with django-redis: its cache, and its sessions in that cache. Prints what it saw as JSON.

django_shop cache | django_shop login NAME VISITS | django_shop read SESSION
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["testserver"],
    SECRET_KEY="only for this test",
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    INSTALLED_APPS=["django.contrib.sessions"],
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
    SESSION_CACHE_ALIAS="default",
    CACHES={
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": f"redis://127.0.0.1:{os.environ['HEXAD_PORT']}/{0 if os.environ.get('HEXAD_CLUSTER') else 1}",
            "OPTIONS": {"CLIENT_CLASS": "django_redis.client.DefaultClient"},
        }
    },
)
django.setup()

from django.core.cache import cache  # noqa: E402  (Django wants its settings first)
from django.http import HttpRequest, JsonResponse  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import path  # noqa: E402


def visit(request: HttpRequest, name: str) -> JsonResponse:
    """Counts a visitor's visits in the session."""
    visits = request.session.get("visits", 0) + 1
    request.session.update({"visits": visits, "name": name})
    return JsonResponse({"visits": visits, "name": request.session["name"]})


def leave(request: HttpRequest) -> JsonResponse:
    request.session.flush()
    return JsonResponse({"left": True})


urlpatterns = [path("visit/<name>", visit), path("leave", leave)]


def use_cache() -> dict[str, Any]:
    """What a cache can do, each once."""
    cache.clear()
    cache.set_many({f"item:{number}": {"number": number} for number in range(100)}, timeout=60)
    cache.set("n", 1, timeout=None)
    with cache.lock("turn", timeout=5, blocking_timeout=1):
        refused = cache.lock("turn", timeout=5).acquire(blocking=False)
    seen = {
        "many": sum(one["number"] for one in cache.get_many([f"item:{number}" for number in range(100)]).values()),
        "ttl": 50 < cache.ttl("item:1") <= 60,
        "forever": cache.ttl("n"),
        "incr": [cache.incr("n"), cache.incr("n", 10), cache.decr("n")],
        "add": [cache.add("n", 5), cache.add("new", 5), cache.get("new")],
        "missing": [cache.get("none"), cache.get("none", "else"), cache.ttl("none")],
        "or set": [cache.get_or_set("lazy", lambda: 7, 30), cache.get_or_set("lazy", lambda: 8, 30)],
        "touch": [cache.touch("new", 100), cache.touch("none")],
        "keys": len(cache.keys("item:*")),
        "iterated": len(list(cache.iter_keys("item:1*", itersize=10))),
        "version": [cache.set("v", "two", version=2), cache.get("v"), cache.get("v", version=2)],
        "deleted": [cache.delete_pattern("item:1*"), cache.delete("n"), cache.has_key("n")],
        "locked out": refused,
        "left": len(cache.keys("*")),
    }
    cache.clear()
    return {**seen, "cleared": len(cache.keys("*"))}


def login(name: str, visits: int) -> dict[str, Any]:
    """Several visits by one visitor; the session that is left."""
    client = Client()
    replies = [client.get(f"/visit/{name}").json() for _ in range(visits)]
    return {"replies": replies, "session": client.cookies["sessionid"].value}


def read(session: str) -> dict[str, Any]:
    """The same visitor at another process: comes once more and leaves."""
    client = Client()
    client.cookies["sessionid"] = session
    reply = client.get("/visit/ann").json()
    client.get("/leave")
    client.cookies["sessionid"] = session
    return {"reply": reply, "after leaving": client.get("/visit/ann").json()}


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["cache"]:
            print(json.dumps(use_cache()))
        case ["login", name, visits]:
            print(json.dumps(login(name, int(visits))))
        case ["read", session]:
            print(json.dumps(read(session)))
