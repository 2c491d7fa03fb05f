# SPDX-License-Identifier: Apache-2.0
"""The dashboard: web pages for the people who run the hub.

Read ``visits`` (what a route and a visit are), ``guard`` (the one path around every
route: headers, session, role, CSRF, errors), ``sessions`` (logging in), then a page of
``pages`` beside its template. ``rendering`` turns values into text, ``drawings`` into
SVG, ``live`` tells an open page that something has happened; ``app`` puts it together.

Two ideas shape it. A page is plain HTML that needs no script: the script only fetches
it again when the hub says that something is new. And the dashboard approves nothing:
it shows what is asked and the command by which a person approves it at the appliance.
"""
