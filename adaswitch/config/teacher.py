"""Settings of the teacher: how the teacher is reached and asked, and how its service is run."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from adaswitch.config.base import Settings
from adaswitch.config.threads import NumThreads

NGRAM = "ngram"
"""The value of ``speculative`` for a draft from the text itself."""


class TeacherServiceConfig(Settings):
    """How the teacher service is run (``python -m services.teacher``)."""

    model: str
    """The teacher's model: a Hugging Face model folder, or a name on the hub."""
    engine: Literal["vllm", "transformers"] = "vllm"
    """The engine that computes: ``vllm`` for real use, ``transformers`` for light installs and tests."""
    host: str = "127.0.0.1"
    """The address that the service binds. An address other than loopback needs a key, or ``insecure``."""
    port: int = Field(default=8000, ge=1, le=65535)
    """The TCP port that the service binds."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """The number type of the model's weights. ``auto`` is the type that the model folder names."""
    max_model_len: int | None = Field(default=None, ge=2)
    """The length of the longest sequence, in tokens. The default is the longest sequence that the model takes."""
    vocab_size: int | None = Field(default=None, ge=1)
    """The number of token ids that the distributions are over, if the student has rows for fewer tokens than the
    teacher. The default is all ids that the tokenizer has and the model has rows for, or those of the run's student."""
    max_top_k: int = Field(default=256, ge=0)
    """The largest number of log-probabilities in a row, or the vocabulary's size if that is smaller."""
    max_request_tokens: int = Field(default=65_536, ge=1)
    """The largest number of tokens in one request. In a request to score, all tokens of its sequences count. In a
    request to generate, the tokens of its prompts and their ``max_tokens`` count together."""
    max_request_sequences: int = Field(default=256, ge=1)
    """The largest number of sequences or prompts in one request."""
    max_body_bytes: int = Field(default=16 * 2**20, ge=1)
    """The length of the longest request body, in bytes. A request with a longer body is answered with 413."""
    body_timeout_s: float = Field(default=30.0, gt=0)
    """The number of seconds in which a request's body must arrive. A request whose body takes longer is answered with
    408."""
    body_memory_mib: int = Field(default=256, ge=1)
    """The memory, in MiB, for all request bodies that are being read. A request that needs more memory than is left is
    answered with 429. One body always fits."""
    header_timeout_s: float = Field(default=10.0, gt=0)
    """The number of seconds in which a request's headers must arrive. A connection whose headers take longer is
    answered with 408 and closed."""
    send_timeout_s: float = Field(default=60.0, gt=0)
    """The number of seconds in which a client must take its answer. An answer that takes longer is cut off, and its
    connection is dropped."""
    max_connections: int = Field(default=4096, ge=1)
    """The largest number of open connections. Connections beyond this limit are dropped. The limit is lower if the
    process may not open so many files."""
    max_queued_requests: int = Field(default=256, ge=1)
    """The largest number of requests that are waiting or being answered. A request beyond this limit is answered with
    429."""
    logprob_memory_gib: float = Field(default=2.0, gt=0)
    """The memory, in GiB, for the log-probabilities of all requests under way. The memory that a request needs follows
    from its rows and its ``top_k``. A request that does not fit at the moment is answered with 429, and a request that
    can never fit with 422."""
    slow_start_s: float = Field(default=240.0, gt=0)
    """The number of seconds after which a service that is not ready reports that its start is slow. The service goes on
    starting, but the program that started it may give up."""
    request_timeout_s: float = Field(default=600.0, gt=0)
    """The number of seconds that one request may take. A request that takes longer is ended and answered with 504. The
    request header ``X-Request-Timeout-S`` may ask for a shorter time."""
    drain_timeout_s: float = Field(default=30.0, ge=0)
    """The number of seconds that requests under way may still take after SIGTERM."""
    kv_cache_gib: float = Field(default=1.0, gt=0)
    """The memory for vLLM's key-value cache on CPU, in GiB."""
    kv_block_size: int | None = Field(default=None, ge=1)
    """The number of tokens in a block of vLLM's key-value cache. Only whole blocks of the cache can be reused, so a
    block should be no longer than ``policy.chunk_size``, or little longer. The default is 32 on CPU, where vLLM's own
    is 128, and vLLM's own on GPUs."""
    enforce_eager: bool | None = None
    """Whether vLLM runs without compilation, which starts faster and runs slower. The default is true on CPU and false
    on GPUs."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    """The share of each GPU's memory that vLLM may take."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    """The number of GPUs that share one copy of the model."""
    num_threads: NumThreads = "auto"
    """The number of threads that the engine uses on CPU. ``auto`` is all cores that the service may use, or its
    share of them in a run on one machine where rollouts may be stale. A small model has one thread."""
    speculative: str | None = None
    """A draft for what the teacher writes, whose tokens vLLM checks several at a time: ``ngram`` for what followed the
    same tokens earlier in the text, or the folder of a small model with the teacher's tokenizer. What is written comes
    from the teacher's own distribution all the same, but with other random numbers. The default is no draft."""
    speculative_tokens: int = Field(default=4, ge=1, le=32)
    """The number of tokens that the draft proposes at a time."""
    api_keys_file: str | None = None
    """A file of bearer keys, with one key in each line. The service reads the file again on SIGHUP. The keys in
    ``ADASWITCH_API_KEY`` are valid as well."""
    access_log: bool = True
    """Whether the service logs one JSON line for each request. The routes that machines ask
    every few seconds (``/healthz``, ``/readyz`` and ``/metrics``) are not logged."""
    insecure: bool = False
    """Whether the service may bind an address other than loopback without a key."""

    @property
    def draft_model(self) -> str | None:
        """The draft model's folder; None without a draft, or with one that needs no model."""
        return None if self.speculative == NGRAM else self.speculative

    @model_validator(mode="after")
    def _drafts_are_checked_by_vllm(self) -> Self:
        if self.speculative is not None and self.engine != "vllm":
            raise ValueError(
                "speculative: only the engine vllm takes a draft: leave it out, or set engine to vllm"
            )
        return self


class TeacherConfig(Settings):
    """How the teacher is reached, and what the run asks of the teacher."""

    api: Literal["native", "openai"] = "native"
    """The kind of server: ``native`` is AdaSwitch's own teacher service, ``openai`` is any vLLM server with
    OpenAI-compatible routes."""
    model: str | None = None
    """The name under which an ``openai`` server serves the teacher. The default is the first model that the server
    lists."""
    url: str = "http://127.0.0.1:8000"
    """The teacher service's address, without a route."""
    replicas: list[str] = Field(default_factory=list)
    """More addresses of the same teacher. A request goes to the address with the least work under way, and an address
    that is lost is left out."""
    api_key_env: str = "ADASWITCH_API_KEY"
    """The name of the environment variable that holds the bearer key. If the variable is unset, no key is sent."""
    top_k: int = Field(default=64, ge=1)
    """The number of candidates in each row of the teacher's distributions. It is cut to the vocabulary's size, at which
    every divergence is exact."""
    temperature: float = Field(default=1.0, ge=0, le=2)
    """The sampling temperature at which the teacher writes. At 0 the teacher decodes greedily. The teacher's
    log-probabilities are always at temperature 1."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """The teacher writes only with the most likely tokens, as many as it takes for their total probability to reach
    this value."""
    logprobs: Literal["float32", "float16"] = "float32"
    """The number type of log-probabilities on the network. ``float16`` sends a quarter fewer bytes, and keeps 11 bits
    of each log-probability."""
    connect_timeout_s: float = Field(default=5.0, gt=0)
    """The number of seconds in which a connection to the teacher must be made."""
    request_timeout_s: float = Field(default=300.0, gt=0)
    """The number of seconds in which the teacher must answer one request."""
    max_wait_s: float = Field(default=600.0, gt=0)
    """The number of seconds that the run waits for a teacher that does not answer before the run gives up."""
    serve: TeacherServiceConfig | None = None
    """How ``adaswitch demo``, ``adaswitch run`` and ``python -m services.teacher --config`` start the teacher
    service."""

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
