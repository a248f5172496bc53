"""Every way a request can fail, as one tree of facts.

GatewayError
├── ClientError                       the client's own mistake: never retried, never
│   │                                 held against a token
│   ├── InvalidRequest          400   malformed, wrong type, out of range; names `param`
│   │   ├── Unsupported         400   understood, but this upstream cannot do it
│   │   ├── ContextTooLong      400   the prompt does not fit the upstream
│   │   └── ContentRefused      400   the upstream moderated prompt or answer
│   ├── InvalidKey              401   no key or a wrong key of the gateway's own
│   ├── Forbidden               403   this key may not do that
│   ├── NotFound                404   no such path or object
│   │   └── ModelNotFound       404
│   ├── MethodNotAllowed        405
│   ├── RequestTimeout          408   the body stopped coming
│   ├── ConversationBusy        409   another request goes on with the same chat
│   ├── PayloadTooLarge         413   the body or a file exceeds a limit, which is named
│   ├── UnsupportedMediaType    415
│   ├── RateLimited             429   a limit of the gateway's own
│   └── ClientGone              499   the client hung up; nobody is left to tell
├── PoolError                         no account can take the request
│   ├── PoolBusy                429   all are in use and the bounded wait is over
│   ├── PoolCooling             429   all wait for a cool-down to end
│   └── PoolEmpty               503   all are dead, disabled or used up
├── UpstreamError                     the upstream failed
│   ├── UpstreamUnreachable     503   DNS, connect, TLS or proxy
│   ├── UpstreamTimeout         504   one of the time-outs passed
│   ├── UpstreamFailed          503   a 5xx or an error of its own without a better name
│   ├── UpstreamCut             503   the answer ended early
│   ├── UpstreamGarbled         503   the answer breaks the upstream's own protocol
│   ├── InvalidAnswer           503   the model did not keep to the form asked for
│   ├── UpstreamMoved           503   a redirect, which is never followed with a token
│   ├── UpstreamBlocked         503   a challenge page instead of an answer
│   ├── UpstreamOverloaded      503   the service says it is too busy
│   ├── UpstreamRateLimited     429   this account is limited
│   │   └── ModelRateLimited    429   only this model on this account is
│   ├── AccountBusy             429   this account already has a running turn
│   ├── AccountExhausted        429   this account's quota is used up
│   │   └── ModelExhausted      429   only that of this model is
│   ├── AccountSuspended        503   the service has banned or closed this account
│   ├── StorageFull             413   this account's room for files is used up
│   ├── FileLost                503   an uploaded file is not there any more
│   ├── UpstreamForbidden       403   plan, region or agent not allowed for the account
│   │   ├── ModelForbidden      403   this account may not use this model
│   │   └── GatewayForbidden    403   it is the gateway that is not, with any account
│   ├── UpstreamNotFound        404   chat, message or agent unknown upstream
│   │   └── ModelUnavailable    404   unknown to this account, perhaps not to all
│   ├── UpstreamRejected        400   the upstream calls the request invalid
│   ├── UpstreamUnsupported     501   the upstream does not implement the call
│   └── TokenRejected           503   the access token is refused: refresh may help
│       └── TokenDead           503   the refresh token is refused: a log-in is needed
└── InternalError               500   our own defect
    ├── StateUnavailable        503   the state store cannot be read or written
    ├── OutOfMemory             503   request bodies fill the memory there is for them
    └── ShuttingDown            503   this process ends; another one may answer

502 is avoided on purpose: Cloudflare replaces its body with HTML (clients facts, pain
37). An upstream refusing a token is never a 401: the client would blame its own key.
"""

import re
from typing import ClassVar

from kimi_proxy.blame import Blame, Penalty


class GatewayError(Exception):
    """An error as facts: what to answer, who is to blame, what to try next.

    `message` is for people and holds no secret. `param` is the path of the offending
    field as the client wrote it. `retry_after` is in seconds; with `guessed` the
    upstream is known to name too short a time, to be doubled each time it was wrong.
    `upstream_code` is the upstream's word for the log, `shown_code` that for clients.
    `where` it happened (a host, a file) is for the log too, not for strangers.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "api_error"
    code: ClassVar[str | None] = None
    blame: ClassVar[Blame] = Blame.GATEWAY
    penalty: ClassVar[Penalty] = Penalty.NONE
    another_token: ClassVar[bool] = False
    shown_code: str | None = None
    where: str | None = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
        guessed: bool = False,
        upstream_code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after, self.guessed = retry_after, guessed
        self.upstream_code = upstream_code

    @property
    def told(self) -> str:
        """The message with the field at fault: many programs show nothing else."""
        if self.param in (None, *re.split(r"[^\w.\[\]]+", self.message)):
            return self.message
        return f"{self.param}: {self.message}"

    @property
    def detail(self) -> str:
        """What the log says of it: more than the client is told."""
        return f"{self.told} ({self.where})" if self.where else self.told


class ClientError(GatewayError):
    status = 400
    type = "invalid_request_error"
    blame = Blame.CLIENT


class InvalidRequest(ClientError):
    """The request is malformed; `param` names the field."""


class Unsupported(InvalidRequest):
    code = "unsupported_parameter"


class ContextTooLong(InvalidRequest):
    code = "context_length_exceeded"


class ContentRefused(InvalidRequest):
    code = "content_filter"


class InvalidKey(ClientError):
    status = 401
    code = "invalid_api_key"


class Forbidden(ClientError):
    status = 403
    type = "permission_error"
    code = "forbidden"


class NotFound(ClientError):
    status = 404
    code = "not_found"


class ModelNotFound(NotFound):
    code = "model_not_found"


class MethodNotAllowed(ClientError):
    status = 405
    code = "method_not_allowed"


class RequestTimeout(ClientError):
    status = 408
    code = "request_timeout"


class ConversationBusy(ClientError):
    status = 409
    code = "conversation_busy"


class PayloadTooLarge(ClientError):
    status = 413
    code = "request_too_large"


class UnsupportedMediaType(ClientError):
    status = 415
    code = "unsupported_media_type"


class RateLimited(ClientError):
    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class ClientGone(ClientError):
    status = 499
    code = "client_gone"


class PoolError(GatewayError):
    status = 429
    type = "rate_limit_error"


class PoolBusy(PoolError):
    code = "accounts_busy"


class PoolCooling(PoolError):
    code = "accounts_cooling"


class PoolEmpty(PoolError):
    status = 503
    type = "api_error"
    code = "no_usable_account"


class UpstreamError(GatewayError):
    status = 503
    type = "upstream_error"
    code = "upstream_error"
    blame = Blame.UPSTREAM
    penalty = Penalty.FAILURE
    another_token = True


class UpstreamUnreachable(UpstreamError):
    code = "upstream_unreachable"


class UpstreamTimeout(UpstreamError):
    status = 504
    code = "upstream_timeout"


class UpstreamFailed(UpstreamError):
    code = "upstream_failed"


class UpstreamCut(UpstreamError):
    code = "upstream_cut"


class UpstreamGarbled(UpstreamError):
    code = "upstream_garbled"


class InvalidAnswer(UpstreamError):
    """JSON or a tool call that stayed wrong after a correction: the model's fault."""

    code = "invalid_answer"
    penalty = Penalty.NONE
    another_token = False


class UpstreamMoved(UpstreamError):
    """A redirect: the configured host is wrong for every token alike."""

    code = "upstream_moved"
    penalty = Penalty.NONE
    another_token = False


class UpstreamBlocked(UpstreamError):
    """A challenge page: reported, never fought."""

    code = "upstream_blocked"
    penalty = Penalty.COOL


class UpstreamOverloaded(UpstreamError):
    type = "overloaded_error"
    code = "upstream_overloaded"


class UpstreamRateLimited(UpstreamError):
    status = 429
    type = "rate_limit_error"
    code = "upstream_rate_limited"
    penalty = Penalty.COOL


class ModelRateLimited(UpstreamRateLimited):
    penalty = Penalty.COOL_MODEL


class AccountBusy(UpstreamError):
    status = 429
    type = "rate_limit_error"
    code = "account_busy"
    penalty = Penalty.BUSY


class AccountExhausted(UpstreamError):
    status = 429
    type = "insufficient_quota"
    code = "insufficient_quota"
    penalty = Penalty.EXHAUSTED


class ModelExhausted(AccountExhausted):
    penalty = Penalty.COOL_MODEL


class AccountSuspended(UpstreamError):
    code = "account_suspended"
    blame = Blame.ACCOUNT
    penalty = Penalty.DISABLED


class StorageFull(UpstreamError):
    """What is full is one account's; another one may have room."""

    status = 413
    type = "invalid_request_error"
    code = "storage_full"
    blame = Blame.ACCOUNT
    penalty = Penalty.NONE


class FileLost(UpstreamError):
    """The upstream does not know a file that was uploaded before: once more, then."""

    code = "upstream_file_lost"
    penalty = Penalty.NONE


class UpstreamForbidden(UpstreamError):
    status = 403
    type = "permission_error"
    code = "upstream_forbidden"
    penalty = Penalty.NONE


class ModelForbidden(UpstreamForbidden):
    penalty = Penalty.LACKS_MODEL


class GatewayForbidden(UpstreamForbidden):
    """Where the gateway is or what it is: asking with every account would be rude."""

    another_token = False


class UpstreamNotFound(UpstreamError):
    status = 404
    type = "invalid_request_error"
    code = "upstream_not_found"
    penalty = Penalty.NONE
    another_token = False

    @property
    def is_bare(self) -> bool:
        """Whether the upstream said no more than 404: it names no chat, file or agent
        that could be missing, so the path itself is."""
        return self.upstream_code == "http_404"


class ModelUnavailable(UpstreamNotFound):
    code = "model_not_found"
    penalty = Penalty.LACKS_MODEL
    another_token = True


class UpstreamRejected(UpstreamError):
    status = 400
    type = "invalid_request_error"
    code = "upstream_rejected"
    penalty = Penalty.NONE
    another_token = False


class UpstreamUnsupported(UpstreamError):
    status = 501
    code = "upstream_unsupported"
    penalty = Penalty.NONE
    another_token = False


class TokenRejected(UpstreamError):
    code = "upstream_auth"
    blame = Blame.ACCOUNT
    penalty = Penalty.REFRESH


class TokenDead(TokenRejected):
    penalty = Penalty.DEAD


class InternalError(GatewayError):
    code = "internal_error"


class StateUnavailable(InternalError):
    status = 503
    code = "state_unavailable"


class OutOfMemory(InternalError):
    status = 503
    code = "server_overloaded"


class ShuttingDown(InternalError):
    status = 503
    code = "shutting_down"
