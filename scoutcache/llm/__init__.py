"""`cache.llm`: answers of language models, kept under what was asked.

A key reads ``llm:chat:<model>:v1:<digest>`` for a request in a provider's shape, and ``llm:<operation>:<model or ->:v1:
<digest>`` for a text and what to do with it.  The digest is the first 32 hex digits of the SHA-256 of the canonical
request (`scoutcache.chat.request`), or of the text's digest, the operation and the options: no prompt stands in a key,
a tag, a counter or a log.  (With ``[llm] plain_texts``, texts up to ``hash_above`` characters stand there readably,
before the digest of the rest.)  The key begins with ``llm:``, so ``[ttl] llm``, policies and patterns for ``llm:*``
hold.

Rules.

1. Asking is asking: whatever the temperature, the second time is answered from the cache.  Who wants another sample
   asks another question (``seed``), or doesn't ask the cache.
2. An answer is kept with what is known of it: request id, provider, model, tokens, cost, when; and under the tags
   ``model:…`` (asked and answered), ``operation:…``, ``provider:…`` and ``source:…``, by which it is invalidated.
3. What is no good answer is given to who asked and not kept: errors, refusals, answers cut off at a limit of tokens
   (unless wanted), streams that were broken off, answers of another model than was asked.
4. A stream reaches its reader while it is recorded, and is replayed chunk by chunk.
5. One call per question, however many ask, in any process (`get_or_compute`).
"""

from __future__ import annotations

from scoutcache.chat.stored import LlmAnswer
from scoutcache.llm.async_face import AsyncLlm
from scoutcache.llm.face import Llm
from scoutcache.llm.metrics import LlmMetrics

__all__ = ["AsyncLlm", "Llm", "LlmAnswer", "LlmMetrics"]
