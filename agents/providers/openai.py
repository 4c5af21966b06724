"""OpenAI, and servers that speak like it: by its Responses API, or by Chat Completions where there is no other."""

from typing import TYPE_CHECKING, Final, Literal, get_args

from agents.providers.base import ModelReply, ModelRequest
from agents.providers.calling import PLACEHOLDER_KEY, SdkProvider
from agents.providers.chat import ChatApi
from agents.providers.faults import Fault, Vendor, judge_event, judge_status, judge_transport
from agents.providers.responses import PROVIDER, ResponsesApi

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Api = Literal["auto", "responses", "chat"]

APIS: Final[tuple[str, ...]] = get_args(Api)
_OWN_URL: Final = "https://api.openai.com/v1"
_NO_SUCH_API: Final = {404, 405, 501}


class OpenAIProvider(SdkProvider["AsyncOpenAI"]):
    """One server that speaks OpenAI's protocol; `api` says which of its two, "auto" that it is found out."""

    name = PROVIDER

    def __init__(self, *, api_key: str, base_url: str = "", api: Api = "auto") -> None:
        title = "the server at OPENAI_BASE_URL" if base_url else "OpenAI"
        vendor = Vendor(name=PROVIDER, title=title, key_setting="OPENAI_API_KEY", url_setting="OPENAI_BASE_URL")
        super().__init__(vendor, lambda: _make_client(api_key or PLACEHOLDER_KEY, base_url or _OWN_URL))
        self._api = "responses" if api == "auto" and not base_url else api
        self._responses = ResponsesApi(vendor)
        self._chat = ChatApi(vendor, is_own=not base_url)

    async def _ask(self, client: "AsyncOpenAI", request: ModelRequest) -> ModelReply:
        if self._api == "chat":
            return await self._chat.ask(client, request)
        if self._api == "responses":
            return await self._responses.ask(client, request)
        return await self._find_out(client, request)

    async def _find_out(self, client: "AsyncOpenAI", request: ModelRequest) -> ModelReply:
        """Ask by the first of the two APIs that answers, and stay with it as long as this process lives."""
        import openai

        try:
            reply = await self._responses.ask(client, request)
        except openai.APIStatusError as error:
            if error.status_code not in _NO_SUCH_API:
                raise
        else:
            self._api = "responses"
            return reply
        # A model that is unknown is 404 too: only an answer proves that it was the address.
        reply = await self._chat.ask(client, request)
        self._api = "chat"
        return reply

    def _judge(self, error: Exception) -> Fault:
        import openai

        match error:
            case openai.APIStatusError():
                codes = {str(error.code), str(error.type)}
                return judge_status(self._vendor, error.status_code, codes=codes, headers=error.response.headers)
            case openai.APIConnectionError():
                return judge_transport(self._vendor, error.__cause__)
            case openai.APIError() if not isinstance(error, openai.APIResponseValidationError):
                return judge_event(self._vendor, {str(error.code), str(error.type)})
        return judge_transport(self._vendor, error)


def _make_client(api_key: str, base_url: str) -> "AsyncOpenAI":
    import openai

    return openai.AsyncOpenAI(api_key=api_key, base_url=base_url, max_retries=0)
