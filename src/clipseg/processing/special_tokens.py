"""Special and added tokens: which token plays which role, and what a text is completed with."""

from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer, processors

from clipseg.errors import PromptError, UsageError
from clipseg.processing.vocabulary import Special, added_token

ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
ADDITIONAL = "additional_special_tokens"


class Role:
    """The token that plays the role of this name, or None; to be set to a token of the vocabulary."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.role = name.removesuffix("_id")

    def __get__(self, tokenizer: "SpecialTokens | None", owner: type) -> Any:
        if tokenizer is None:
            return self
        token = tokenizer._special_tokens_map[self.role]
        return None if token is None else token.content

    def __set__(self, tokenizer: "SpecialTokens", token: Special | None) -> None:
        tokenizer._give_roles({self.role: token})


class RoleId(Role):
    """The id of the token that plays a role, or None; to be set to an id of the vocabulary."""

    def __get__(self, tokenizer: "SpecialTokens | None", owner: type) -> Any:
        token = super().__get__(tokenizer, owner)
        return tokenizer._tokenizer.token_to_id(token) if tokenizer and token is not None else token

    def __set__(self, tokenizer: "SpecialTokens", token: Any) -> None:
        tokenizer._give_roles({self.role: None if token is None else tokenizer._symbol(int(token))})


class SpecialTokens:
    """A vocabulary with added tokens, some of which have roles."""

    _tokenizer: Tokenizer
    _special_tokens_map: dict[str, AddedToken | None]
    _additional: list[AddedToken] | None

    bos_token, bos_token_id = Role(), RoleId()
    eos_token, eos_token_id = Role(), RoleId()
    unk_token, unk_token_id = Role(), RoleId()
    sep_token, sep_token_id = Role(), RoleId()
    pad_token, pad_token_id = Role(), RoleId()
    cls_token, cls_token_id = Role(), RoleId()
    mask_token, mask_token_id = Role(), RoleId()
    pad_token_type_id = 0

    # -- roles ---------------------------------------------------------------------------------------------------

    def _give_roles(self, roles: Mapping[str, Special | None]) -> None:
        tokens = {role: None if token is None else special_token(token) for role, token in roles.items()}
        self._check_known([token for token in tokens.values() if token])
        self._special_tokens_map |= tokens
        if {"bos_token", "eos_token"} & tokens.keys():
            self._tokenizer.post_processor = self._completion()

    def _check_known(self, tokens: Sequence[AddedToken]) -> None:
        for token in tokens:
            if self._tokenizer.token_to_id(token.content) is None:
                raise UsageError(
                    f"token {token.content!r} is not in this vocabulary of {len(self)} entries; "
                    "add_special_tokens adds it and gives it a role"
                )

    def _completion(self) -> Any:
        """What the library completes texts by: `bos a eos`, `bos a eos eos b eos`, without those that are unset."""
        bos, eos = ([(token, i)] if token is not None else [] for token, i in self._ends())
        if bos and eos:
            return processors.RobertaProcessing(eos[0], bos[0], trim_offsets=False, add_prefix_space=False)
        start, end = ([token for token, _ in tokens] for tokens in (bos, eos))
        return processors.TemplateProcessing(
            single=[*start, "$A", *end], pair=[*start, "$A", *end, *end, "$B", *end], special_tokens=[*bos, *eos]
        )

    def _ends(self) -> list[tuple[str | None, int]]:
        return [(self.bos_token, self.bos_token_id), (self.eos_token, self.eos_token_id)]

    @property
    def additional_special_tokens(self) -> list[str] | None:
        """Special tokens without a role; to be set to tokens of the vocabulary."""
        return None if self._additional is None else [token.content for token in self._additional]

    @additional_special_tokens.setter
    def additional_special_tokens(self, tokens: Sequence[Special] | None) -> None:
        more = None if tokens is None else [special_token(token) for token in tokens]
        self._check_known(more or [])
        self._additional = more

    @property
    def additional_special_tokens_ids(self) -> list[int]:
        """The ids of `additional_special_tokens`; to be set to ids of the vocabulary."""
        return [self._id(token.content) for token in self._additional or ()]

    @additional_special_tokens_ids.setter
    def additional_special_tokens_ids(self, ids: Sequence[int] | None) -> None:
        self.additional_special_tokens = [self._symbol(int(i)) for i in ids or ()]

    # The name of the same in newer releases.
    extra_special_tokens = additional_special_tokens
    extra_special_tokens_ids = additional_special_tokens_ids

    @property
    def special_tokens_map_extended(self) -> dict[str, Any]:
        """Role -> special token, as objects that say how each is found; the additional ones if there are any."""
        roles = {role: token for role, token in self._special_tokens_map.items() if token is not None}
        return {**roles, ADDITIONAL: list(self._additional)} if self._additional else roles

    @property
    def special_tokens_map(self) -> dict[str, Any]:
        """Role -> special token; the additional ones if there are any."""
        extended = self.special_tokens_map_extended.items()
        return {
            role: [token.content for token in tokens] if role == ADDITIONAL else tokens.content
            for role, tokens in extended
        }

    @property
    def all_special_tokens_extended(self) -> list[AddedToken]:
        """Every special token once, as objects that say how each is found."""
        named = (token for token in self._special_tokens_map.values() if token is not None)
        first: dict[str, AddedToken] = {}
        for token in (*named, *(self._additional or ())):
            first.setdefault(token.content, token)
        return list(first.values())

    @property
    def all_special_tokens(self) -> list[str]:
        """Every special token once."""
        return [token.content for token in self.all_special_tokens_extended]

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of `all_special_tokens`."""
        return [self._id(token) for token in self.all_special_tokens]

    # -- the vocabulary ------------------------------------------------------------------------------------------

    def add_tokens(self, new_tokens: Special | Sequence[Special], special_tokens: bool = False) -> int:
        """Tokens to be found in texts whole -> how many of them are new; these come after the vocabulary.

        A model needs as many embeddings as `len(tokenizer)`. Raises UsageError for what is no token.
        """
        tokens = [
            checked_token(each) for each in (new_tokens if isinstance(new_tokens, (list, tuple)) else [new_tokens])
        ]
        if special_tokens:
            return int(self._tokenizer.add_special_tokens([special_token(token) for token in tokens]))
        return int(self._tokenizer.add_tokens(tokens))

    def add_special_tokens(
        self, special_tokens_dict: Mapping[str, Any], replace_additional_special_tokens: bool = True
    ) -> int:
        """Role -> token, additional_special_tokens -> tokens: gives the roles -> how many of the tokens are new.

        Raises UsageError for another role and for what is no token.
        """
        roles = dict(special_tokens_dict)
        more = roles.pop(ADDITIONAL, None) or roles.pop("extra_special_tokens", None)
        if wrong := roles.keys() - set(ROLES):
            raise UsageError(f"no role {', '.join(sorted(wrong))}; roles are {', '.join((*ROLES, ADDITIONAL))}")
        if more is not None and not isinstance(more, (list, tuple)):
            raise UsageError(f"{ADDITIONAL} is a list of tokens, got {more!r:.80}")
        new = self.add_tokens([*roles.values(), *(more or ())], special_tokens=True)
        self._give_roles(roles)
        if more is not None:
            kept = [] if replace_additional_special_tokens else [*(self._additional or ())]
            names = {token.content for token in kept}
            self._additional = [*kept, *(t for t in map(special_token, more) if t.content not in names)]
        return new

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """Id -> token that texts are searched for: the special ones and those of `add_tokens`."""
        return dict(sorted(self._tokenizer.get_added_tokens_decoder().items()))

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """Token that texts are searched for -> its id."""
        return {token.content: i for i, token in self.added_tokens_decoder.items()}

    def get_added_vocab(self) -> dict[str, int]:
        """See `added_tokens_encoder`."""
        return self.added_tokens_encoder

    def get_vocab(self) -> dict[str, int]:
        """Symbol -> id, with the added tokens."""
        vocabulary: dict[str, int] = self._tokenizer.get_vocab(with_added_tokens=True)
        return vocabulary

    @property
    def vocab(self) -> dict[str, int]:
        """See `get_vocab`."""
        return self.get_vocab()

    @property
    def vocab_size(self) -> int:
        """Entries of the vocabulary, without tokens added after it."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=False))

    def __len__(self) -> int:
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def __bool__(self) -> bool:
        return True  # a tokeniser is something, whatever it holds: `tokenizer or default` must not test its length

    def _id(self, token: str) -> int:
        """A token that is known to be in the vocabulary -> its id."""
        return int(self._tokenizer.token_to_id(token) or 0)

    def _symbol(self, index: int) -> str:
        """An id -> its symbol. Raises PromptError for one outside the vocabulary."""
        symbol: str | None = self._tokenizer.id_to_token(index) if 0 <= index < 2**32 else None
        if symbol is None:
            raise PromptError(f"token id {index} is outside this vocabulary of {len(self)} entries")
        return symbol

    # -- completing ids ------------------------------------------------------------------------------------------

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Ids of a text, or of a pair -> `bos a eos`, or `bos a eos eos b eos`; what is unset is left out."""
        bos, eos = ([i] if token is not None else [] for token, i in self._ends())
        first = [*bos, *token_ids_0, *eos]
        return first if token_ids_1 is None else [*first, *eos, *token_ids_1, *eos]

    def create_token_type_ids_from_sequences(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Ids of a text, or of a pair -> as many zeros as ids with special tokens: CLIP does not tell a pair apart."""
        return [0] * len(self.build_inputs_with_special_tokens(token_ids_0, token_ids_1))

    def get_special_tokens_mask(
        self,
        token_ids_0: list[int],
        token_ids_1: list[int] | None = None,
        already_has_special_tokens: bool = False,
    ) -> list[int]:
        """Ids of a text, or of a pair -> 1 for each special token, 0 for the others.

        The special tokens are those that `build_inputs_with_special_tokens` would add, or, with
        `already_has_special_tokens`, those among `token_ids_0`. Raises UsageError if that comes with a pair.
        """
        if not already_has_special_tokens:
            others = [-1] * len(token_ids_0), None if token_ids_1 is None else [-1] * len(token_ids_1)
            return [int(i >= 0) for i in self.build_inputs_with_special_tokens(*others)]
        if token_ids_1 is not None:
            raise UsageError("ids that already have special tokens are one list; put the pair into token_ids_0")
        special = set(self.all_special_ids)
        return [int(i in special) for i in token_ids_0]

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many special tokens a text, or a pair, is completed with."""
        return len(self.build_inputs_with_special_tokens([], [] if pair else None))


def checked_token(token: Any) -> Any:
    """A token in any form -> the library's type; text stays text. Raises UsageError."""
    if not isinstance(token, (str, AddedToken, Mapping)):
        raise UsageError(f"a token is a string or an AddedToken, got {token!r:.80}")
    return added_token(token) if isinstance(token, Mapping) else token


def special_token(token: Special) -> AddedToken:
    """A token in any form -> the library's type, marked as special. Raises UsageError for what is none."""
    token = added_token(checked_token(token))
    if token.special:
        return token
    flags = {name: getattr(token, name) for name in ("single_word", "lstrip", "rstrip", "normalized")}
    return AddedToken(token.content, special=True, **flags)
