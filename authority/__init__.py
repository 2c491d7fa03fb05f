# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-ca``: a small certificate authority of the exchange's own.

For a machine of the security team's that is on no network. It says that a certificate
was made here; who a client is and what it may do, the appliance decides by the pin of
its key. Read ``issuing`` (what a certificate says; pure), ``register`` (key and log in
a folder), ``__main__``. A leaf: imports nothing of ours.
"""
