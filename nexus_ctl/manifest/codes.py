"""Every fault a manifest can have: its stable code and its summary. The only place where summaries are written.

A summary holds no names or values, so that people learn to recognise it; those stand in the diagnostic's detail.
"""

from __future__ import annotations

from collections.abc import Mapping

SUMMARIES: Mapping[str, str] = {
    # the text
    "not-utf8": "a manifest must be UTF-8 text",
    "file-too-large": "a file is larger than nexusctl reads",
    "too-many-documents": "a file holds more documents than nexusctl reads",
    "control-character": "a manifest holds a character that YAML does not allow",
    "yaml-syntax": "this is not YAML",
    "tab": "YAML is indented with spaces, never with tabs",
    "too-deep": "the document is nested too deeply",
    "alias-bomb": "the aliases of this file expand to too much",
    "unknown-alias": "an alias refers to no anchor before it",
    "yaml-tag": "tags are not read",
    "merge-key": "merge keys are not read",
    "bad-key": "a key must be text",
    "duplicate-key": "a key is written twice",
    "ambiguous-number": "a number with a leading zero means different things to different readers",
    "ambiguous-word": "a bare word could be meant as text or as true/false",
    "number-range": "a number is not one that can be stored",
    # interpolation
    "bad-interpolation": "an interpolation is not understood",
    "unset-variable": "an environment variable is not set",
    "missing-file": "a file that the manifest reads does not exist or cannot be read",
    # the envelope
    "not-a-resource": "a document is not a resource",
    "unknown-version": "this apiVersion is not known",
    "unknown-kind": "this kind is not known",
    "invalid-name": "a name is not well formed",
    "unknown-annotation": "an annotation of nexusctl's own is not known",
    "invalid-annotation": "an annotation's value is not understood",
    "reserved-label": "labels that begin with nexusctl/ are nexusctl's own",
    "ignored-status": "status is nexusctl's to write and is ignored",
    # the spec
    "unknown-field": "a field is not known",
    "missing-field": "a required field is missing",
    "wrong-type": "a value has the wrong type",
    "invalid-choice": "a value is not one of the choices",
    "out-of-range": "a value is out of range",
    "invalid-value": "a value is not accepted",
    "duplicate-item": "an item of a set is written twice",
    # the stack
    "empty-input": "there is nothing to load",
    "duplicate-resource": "a resource is declared twice",
    "duplicate-stack": "more than one Stack is declared",
    "include-not-found": "an included file does not exist",
    "fixed-by-base": "an overlay cannot change what is loaded",
    "unknown-ref": "a reference names something that is not declared",
    "dependency-cycle": "resources depend on each other in a circle",
    "duplicate-public-name": "two routes answer to the same public name",
    "renamed-still-declared": "the former name is still, or twice, in use",
    "listen-not-loopback": "a listener would be reachable from outside",
    # nexus.lock
    "bad-lock": "the lock file is not one that nexusctl wrote",
    "lock-version": "the lock file has a version that this nexusctl does not read",
    "lock-contradicted": "the manifest asks for something else than the lock file pins",
    "not-locked": "the lock file has no entry for a model",
    # the engine's part of a Deployment
    "unknown-flag": "the engine has no such argument",
    "removed-flag": "the engine no longer takes this argument",
    "flag-has-a-field": "an argument has a field of its own",
    "flag-is-ours": "an argument is nexusctl's to give",
    "flag-given-twice": "an argument is given twice",
    "flag-by-environment": "an environment variable sets an argument",
    "invalid-flag-value": "the engine does not take this value",
    "risky-flag": "an argument opens the machine to whoever reaches the engine",
    "no-effect": "a field has no effect here",
    "uneven-slots": "the context does not divide by the slots",
    "ubatch-over-batch": "the physical batch is larger than the logical one",
    "embedding-over-ubatch": "long texts will be refused",
    "quantized-v-needs-flash-attention": "a quantized V cache needs flash attention",
    "more-threads-than-cores": "there are more threads than cores",
    "context-too-small": "the context is too small for its slots",
    "batch-does-not-divide": "the batch does not divide by the slots",
    "reranking-pools-by-rank": "reranking has a pooling of its own",
    "draft-min-over-max": "every guess of the draft model would be thrown away",
    "gpus-do-not-match": "an engine is told of other GPUs than it gets",
    "adapter-name-taken": "an adapter has the name of another model of its engine",
    "batch-under-length": "long texts will be refused",
    "file-says-otherwise": "a field does not go with the files it is for",
    "memory-is-a-guess": "what a replica takes of a GPU is not known",
    "no-gpu": "an engine that needs a GPU gets none",
    "placeholder-in-a-word": "a placeholder is not filled in here",
    "port-not-used": "a command does not say which port to listen on",
    "path-not-mounted": "an argument names a file that the replica may not see",
    "chat-to-vectors": "a route leads conversations to a model of vectors or scores",
}
