"""The gateway with its scripted providers, for gunicorn."""

from kimi_proxy import logs
from kimi_proxy.app import create_app
from kimi_proxy.config import load
from kimi_proxy.services import Services
from tests.http.scripted import builder, diary_of_environment

_settings = load()
_redact = logs.Redactor()
logs.configure(_settings.log.level, _redact)
_services = Services(_settings, build=builder(diary_of_environment()))
_redact.learn(_services.secrets())
app = create_app(_services)
