"""Settings of the teacher: how it is reached and asked, and how its service is run."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from adaswitch.config.base import Settings


class TeacherServiceConfig(Settings):
    """How the teacher service is run (``python -m services.teacher``)."""

    model: str
    """A Hugging Face model folder, or a name on the hub."""
    engine: Literal["vllm", "transformers"] = "vllm"
    """``vllm`` serves in earnest; ``transformers`` is for light installs and tests."""
    host: str = "127.0.0.1"
    """The address to bind. Anything but loopback needs a key, or ``insecure``."""
    port: int = Field(default=8000, ge=1, le=65535)
    """The TCP port to bind."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """``auto`` is what the model folder says."""
    max_model_len: int | None = Field(default=None, ge=2)
    """Longest sequence in tokens; by default what the model takes."""
    max_top_k: int = Field(default=256, ge=0)
    """Most log-probabilities a row; the vocabulary's size, if that is smaller."""
    max_request_tokens: int = Field(default=65_536, ge=1)
    """Most tokens in one request: those scored, or prompt and ``max_tokens`` together."""
    max_request_sequences: int = Field(default=256, ge=1)
    """Most sequences or prompts in one request."""
    max_body_bytes: int = Field(default=16 * 2**20, ge=1)
    """A longer request body is answered with 413."""
    body_timeout_s: float = Field(default=30.0, gt=0)
    """A body that has not come by then is answered with 408."""
    body_memory_mib: int = Field(default=256, ge=1)
    """Memory for all bodies that are being read: one more byte is answered with 429. One body always fits."""
    header_timeout_s: float = Field(default=10.0, gt=0)
    """A connection whose request's headers have not come by then is closed, with 408."""
    send_timeout_s: float = Field(default=60.0, gt=0)
    """An answer that the client has not taken by then is cut off, and its connection dropped."""
    max_connections: int = Field(default=4096, ge=1)
    """More are dropped; fewer where the process may not open so many files."""
    max_queued_requests: int = Field(default=256, ge=1)
    """Requests in the house at once; one more is answered with 429."""
    logprob_memory_gib: float = Field(default=2.0, gt=0)
    """Memory for the log-probabilities of requests under way, by their rows and ``top_k``: one more that does not
    fit is answered with 429, one that would never fit with 422."""
    slow_start_s: float = Field(default=240.0, gt=0)
    """A service that is not ready by then says so, and goes on with its start; whoever started it may give it up."""
    request_timeout_s: float = Field(default=600.0, gt=0)
    """A request that takes longer is ended and answered with 504; ``X-Request-Timeout-S`` may ask for less."""
    drain_timeout_s: float = Field(default=30.0, ge=0)
    """After SIGTERM: how long requests under way may still take."""
    kv_cache_gib: float = Field(default=1.0, gt=0)
    """Memory for vLLM's key-value cache on CPU, in GiB."""
    kv_block_size: int | None = Field(default=None, ge=1)
    """Tokens in a block of vLLM's key-value cache, of which whole blocks are found again: by default vLLM's own."""
    enforce_eager: bool | None = None
    """vLLM without compilation: a faster start, a slower run. By default on for CPU, off for GPUs."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    """Share of each GPU's memory that vLLM may take."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    """How many GPUs share one copy of the model."""
    num_threads: int = Field(default=1, ge=1)
    """Threads of the engine on CPU."""
    api_keys_file: str | None = None
    """A file of bearer keys, one a line, read again on SIGHUP; those in ``ADASWITCH_API_KEY`` count as well."""
    access_log: bool = True
    """A JSON line a request, but for the routes that only machines ask."""
    insecure: bool = False
    """Bind beyond loopback without a key."""


class TeacherConfig(Settings):
    """How the teacher is reached, and what is asked of it."""

    api: Literal["native", "openai"] = "native"
    """``native`` is our service; ``openai`` is any vLLM server with its own OpenAI-compatible routes."""
    model: str | None = None
    """Of an ``openai`` server: the name that it serves the teacher under; by default the first that it lists."""
    url: str = "http://127.0.0.1:8000"
    """The teacher service's address, without a route."""
    replicas: list[str] = Field(default_factory=list)
    """More addresses of the same teacher: requests go where least is under way, one that is lost is left out."""
    api_key_env: str = "ADASWITCH_API_KEY"
    """Name of the environment variable that holds the bearer key; unset means no key."""
    top_k: int = Field(default=64, ge=1)
    """Candidates a row; cut to the vocabulary's size, where every divergence is exact."""
    temperature: float = Field(default=1.0, ge=0, le=2)
    """At which the teacher writes; 0 is greedy. Its log-probabilities are at 1 whatever this is."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """The teacher writes with the most likely tokens whose probability reaches this."""
    logprobs: Literal["float32", "float16"] = "float32"
    """Of log-probabilities on their way: float16 takes a quarter less of the network, and 11 bits of each are left."""
    connect_timeout_s: float = Field(default=5.0, gt=0)
    """For a connection to be made."""
    request_timeout_s: float = Field(default=300.0, gt=0)
    """For one answer."""
    max_wait_s: float = Field(default=600.0, gt=0)
    """How long a teacher that does not answer is waited for before the run gives up."""
    serve: TeacherServiceConfig | None = None
    """How ``adaswitch demo``, ``adaswitch run`` and ``python -m services.teacher --config`` start it."""

    @model_validator(mode="after")
    def _served_natively(self) -> Self:
        if self.api == "openai" and self.serve is not None:
            raise ValueError("serve starts our own service: leave it out with api openai, and set url")
        if self.api == "native" and self.model is not None:
            raise ValueError("model is the name on a server with api openai: leave it out")
        return self

    @field_validator("temperature")
    @classmethod
    def _greedy_or_hot_enough(cls, temperature: float) -> float:
        if 0 < temperature < 0.01:
            raise ValueError("must be 0 (greedy) or at least 0.01, as the teacher service takes it")
        return temperature
