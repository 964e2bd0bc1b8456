# Copyright the HostAgent authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this fragment is private to this collection. It can change or vanish at any time.

from __future__ import annotations


class ModuleDocFragment:
    # The program that modules run.
    DOCUMENTATION = r"""
options:
  executable:
    description:
      - The path of C(hostagent) on the managed host.
      - It is looked for in C(PATH), C(/usr/local/bin), C(/opt/homebrew/bin) and C(~/.local/bin) by default.
    type: path
  lima_home:
    description:
      - The directory of the instances.
      - The default is the environment's E(LIMA_HOME), otherwise C(~/.lima) of the account that the module runs as.
    type: path
requirements:
  - hostagent 0.3 on the managed host
"""
