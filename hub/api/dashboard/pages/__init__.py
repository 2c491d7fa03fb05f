# SPDX-License-Identifier: Apache-2.0
"""One module per page: what it asks the database, and the template it fills."""
