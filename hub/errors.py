# SPDX-License-Identifier: Apache-2.0
"""Every exception of the hub; a type says whether asking again can help.

::

    HubError
    ├── RefusedError                 no, and asking again gives the same answer
    │   ├── UserExistsError          user-exists
    │   ├── UserUnknownError         user-unknown
    │   ├── InsufficientBalanceError insufficient-balance
    │   ├── AddressUnknownError      address-unknown
    │   ├── AddressIneligibleError   address-ineligible
    │   ├── AddressSpentError        address-spent
    │   ├── AmountInvalidError       amount-invalid
    │   ├── TagInvalidError          tag-invalid
    │   ├── ChecksumInvalidError     checksum-invalid
    │   ├── AddressMalformedError    address-malformed
    │   ├── WithdrawalUnknownError   withdrawal-unknown
    │   ├── WithdrawalFinalError     withdrawal-final
    │   ├── BatchInvalidError        batch-invalid
    │   ├── BatchUnbalancedError     batch-unbalanced
    │   ├── BatchInconsistentError   batch-inconsistent
    │   ├── SweepUnknownError        sweep-unknown
    │   ├── ColdStorageError         cold-storage
    │   ├── WithdrawalLimitError     withdrawal-limit
    │   ├── ApprovalRefusedError     approval-refused
    │   ├── PlanOutdatedError        plan-outdated
    │   ├── WithdrawalExistsError    withdrawal-exists
    │   ├── AuthorisationInvalidError authorisation-invalid
    │   ├── DepositUnknownError      deposit-unknown
    │   ├── ApiKeyInvalidError       api-key-invalid
    │   ├── ApiKeyUnknownError       api-key-unknown
    │   ├── IdempotencyKeyReusedError idempotency-key-reused
    │   ├── WebhookUnknownError      webhook-unknown
    │   ├── WebhookUrlRefusedError   webhook-url-refused
    │   ├── WebhooksOffError         webhooks-off
    │   ├── OperatorExistsError      operator-exists
    │   ├── OperatorUnknownError     operator-unknown
    │   ├── OperatorNameError        operator-name
    │   ├── PasswordRefusedError     password-refused
    │   ├── ReattachmentRefusedError reattachment-refused
    │   ├── hub.api.v1.errors        what is wrong with an HTTP request
    │   └── hub.api.dashboard.errors what is wrong with a visit
    ├── FaultError                   could not tell; the same request may be repeated
    │   ├── ApplianceUnavailableError appliance-unavailable
    │   ├── NodeUnavailableError     node-unavailable
    │   │   ├── NodeRefusedError     node-refused: it answers, but not this
    │   │   └── MilestoneLostError   milestone-lost: no quorum tells what it did
    │   ├── HintsLostError           hints-lost: a node's publisher is away
    │   ├── DatabaseUnavailableError database-unavailable
    │   ├── OutcomeUnknownError      outcome-unknown: it may have been done
    │   └── FencedError              fenced: another hub runs this flow now
    ├── InvariantError               a belief is broken: stop and page
    │   ├── LedgerImbalanceError     ledger-imbalance
    │   ├── BooksLatchedError        books-latched
    │   ├── TransitionError          transition-forbidden
    │   └── HeadConflictError        head-conflict
    └── ConfigError                  config-invalid: the program does not start
"""

from typing import ClassVar


class HubError(Exception):
    """Any failure the hub raises on purpose.

    Attributes:
        code: A stable word for logs, metrics and replies.
    """

    code: ClassVar[str] = "hub"


class RefusedError(HubError):
    """The request can not be granted; repeating it changes nothing."""

    code = "refused"


class UserExistsError(RefusedError):
    """The identifier is taken."""

    code = "user-exists"


class UserUnknownError(RefusedError):
    """No account has this identifier."""

    code = "user-unknown"


class InsufficientBalanceError(RefusedError):
    """The posting would take a balance below zero."""

    code = "insufficient-balance"


class AddressUnknownError(RefusedError):
    """The address is none of ours."""

    code = "address-unknown"


class AddressIneligibleError(RefusedError):
    """The address cannot receive value: its last trit is not zero."""

    code = "address-ineligible"


class AddressSpentError(RefusedError):
    """The address was already spent from."""

    code = "address-spent"


class AmountInvalidError(RefusedError):
    """The amount is not a positive number of iota within the supply."""

    code = "amount-invalid"


class TagInvalidError(RefusedError):
    """The tag is not at most 27 trytes."""

    code = "tag-invalid"


class ChecksumInvalidError(RefusedError):
    """The nine last trytes do not follow from the address."""

    code = "checksum-invalid"


class AddressMalformedError(RefusedError):
    """The text is no address."""

    code = "address-malformed"


class WithdrawalUnknownError(RefusedError):
    """No withdrawal has this UUID, or the text is no UUID."""

    code = "withdrawal-unknown"


class WithdrawalFinalError(RefusedError):
    """The withdrawal is in a sweep, paid or cancelled: nothing left to cancel."""

    code = "withdrawal-final"


class BatchInvalidError(RefusedError):
    """A transfer of the batch moves nothing, or more than exists."""

    code = "batch-invalid"


class BatchUnbalancedError(RefusedError):
    """The batch's amounts do not add up to zero."""

    code = "batch-unbalanced"


class BatchInconsistentError(RefusedError):
    """The batch would overdraw an account."""

    code = "batch-inconsistent"


class SweepUnknownError(RefusedError):
    """No signed sweep has this bundle hash or pays this withdrawal."""

    code = "sweep-unknown"


class WithdrawalLimitError(RefusedError):
    """The account has requested as much as it may within the window."""

    code = "withdrawal-limit"


class ApprovalRefusedError(RefusedError):
    """The withdrawal waits for no approval, or not for one by its maker."""

    code = "approval-refused"


class ColdStorageError(RefusedError):
    """Cold storage has no such address, or it can not take part in this."""

    code = "cold-storage"


class PlanOutdatedError(RefusedError):
    """What a sweep was planned from has changed; plan anew."""

    code = "plan-outdated"


class WithdrawalExistsError(RefusedError):
    """Another withdrawal has the UUID that the client chose."""

    code = "withdrawal-exists"


class AuthorisationInvalidError(RefusedError):
    """The text is no compact JWS for this withdrawal, or comes too late for it."""

    code = "authorisation-invalid"


class DepositUnknownError(RefusedError):
    """No deposit has this number."""

    code = "deposit-unknown"


class ApiKeyInvalidError(RefusedError):
    """The key is unknown, wrong, expired or revoked, or none was shown."""

    code = "api-key-invalid"


class ApiKeyUnknownError(RefusedError):
    """No API key has this id."""

    code = "api-key-unknown"


class IdempotencyKeyReusedError(RefusedError):
    """The key was used before with a request of other content."""

    code = "idempotency-key-reused"


class WebhookUnknownError(RefusedError):
    """No webhook has this id."""

    code = "webhook-unknown"


class WebhookUrlRefusedError(RefusedError):
    """The URL is neither https nor http to loopback."""

    code = "webhook-url-refused"


class WebhooksOffError(RefusedError):
    """No key file for webhooks' secrets is configured."""

    code = "webhooks-off"


class OperatorExistsError(RefusedError):
    """The dashboard has an operator of this name."""

    code = "operator-exists"


class OperatorUnknownError(RefusedError):
    """The dashboard has no operator of this name."""

    code = "operator-unknown"


class OperatorNameError(RefusedError):
    """The text can not be an operator's name."""

    code = "operator-name"


class PasswordRefusedError(RefusedError):
    """The password is too short, too long or too easy to guess."""

    code = "password-refused"


class ReattachmentRefusedError(RefusedError):
    """The sweep is not signed, is confirmed, or its inputs have moved."""

    code = "reattachment-refused"


class FaultError(HubError):
    """Something outside did not answer; the very same request may be repeated."""

    code = "fault"


class ApplianceUnavailableError(FaultError):
    """The signing appliance could not be asked, or deferred its answer."""

    code = "appliance-unavailable"


class NodeUnavailableError(FaultError):
    """No quorum of nodes answered."""

    code = "node-unavailable"


class NodeRefusedError(NodeUnavailableError):
    """A node answered that it does not, or can not, say this; it is not away."""

    code = "node-refused"


class MilestoneLostError(NodeUnavailableError):
    """No quorum of nodes tells what a milestone changed, and none will."""

    code = "milestone-lost"


class HintsLostError(FaultError):
    """A publisher of hints is away or floods; nothing depends on it."""

    code = "hints-lost"


class DatabaseUnavailableError(FaultError):
    """The database stayed busy or away for the whole time allowed."""

    code = "database-unavailable"


class OutcomeUnknownError(FaultError):
    """The database was lost while it committed: look whether it was done.

    What is told apart by a key of its own (a UUID, an idempotency key, a tail) may
    simply be asked for again; anything else must be looked up first.
    """

    code = "outcome-unknown"


class FencedError(FaultError):
    """Another hub holds the flow's lease now; nothing was written."""

    code = "fenced"


class InvariantError(HubError):
    """What must always hold does not; nothing was written."""

    code = "invariant"


class LedgerImbalanceError(InvariantError):
    """Assets and liabilities of a posting, or of the books, differ."""

    code = "ledger-imbalance"


class BooksLatchedError(InvariantError):
    """The books were found broken: no balance changes until people have looked."""

    code = "books-latched"


class TransitionError(InvariantError):
    """A state was asked to become one that its table does not allow."""

    code = "transition-forbidden"


class HeadConflictError(InvariantError):
    """The appliance's journal head contradicts the one remembered."""

    code = "head-conflict"


class ConfigError(HubError):
    """The configuration file is not what it must be."""

    code = "config-invalid"


class CertificateRefusedError(RefusedError):
    """A certificate does not fit its key, its authority, its purpose or the time."""

    code = "certificate-refused"
