"""The verb ``completion``: scripts for shells, and the man page, made from the parser."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable

from edgefer.cli.parser import Parser

EXAMPLES = """\
examples:
  edgefer completion bash > ~/.local/share/bash-completion/completions/edgefer
  edgefer completion zsh > "${fpath[1]}/_edgefer"
  edgefer completion fish > ~/.config/fish/completions/edgefer.fish
  edgefer completion man | man -l -
"""


def add_arguments(parser: Parser) -> None:
    """The arguments of ``edgefer completion``."""
    parser.epilog = EXAMPLES
    parser.add_argument("shell", choices=sorted(SCRIPTS), help="the shell; man: the man page")


def main(options: argparse.Namespace) -> int:
    """Print the script."""
    print(script(options.shell), end="")
    return 0


def script(shell: str) -> str:
    """The script for bash, zsh or fish, or the man page."""
    from edgefer.cli.main import VERBS, parser

    return SCRIPTS[shell](parser(list(VERBS)))


def _words(parser: Parser) -> list[str]:
    """What may follow on a command line: options, and the choices of positional arguments."""
    found = [option for action in parser.declared() for option in action.option_strings]
    for action in parser.declared():
        if not action.option_strings and action.choices:
            found += map(str, action.choices)
    return found


def _bash(command: Parser) -> str:
    cases = [f"    {name}) words='{' '.join(_words(verb))}' ;;" for name, _, verb in command.verbs()]
    for name, _, verb in command.verbs():
        cases += [f"    '{name} {action}') words='{' '.join(_words(each))}' ;;" for action, _, each in verb.verbs()]
    lines = "\n".join(reversed(cases))
    return f"""\
# bash completion for edgefer
_edgefer() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" verb="${{COMP_WORDS[1]}}" action="${{COMP_WORDS[2]}}" words
  if [ "$COMP_CWORD" -eq 1 ]; then
    words='{" ".join(_words(command))}'
  else
    case "$verb" in
    service) [ "$COMP_CWORD" -gt 2 ] && verb="$verb $action" ;;
    esac
    case "$verb" in
{lines}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _edgefer edgefer
"""


def _zsh(command: Parser) -> str:
    verbs = "\n".join(f"    '{name}:{_quoted(summary)}'" for name, summary, _ in command.verbs())
    cases = "\n".join(f"    {name}) _arguments {' '.join(_zsh_options(verb))} '*:file:_files' ;;" for name, _, verb in command.verbs())
    return f"""\
#compdef edgefer
_edgefer() {{
  local -a verbs
  verbs=(
{verbs}
  )
  if (( CURRENT == 2 )); then
    _describe verb verbs
    return
  fi
  local verb=$words[2]
  shift words
  (( CURRENT-- ))
  case $verb in
{cases}
  esac
}}
_edgefer "$@"
"""


def _zsh_options(parser: Parser) -> list[str]:
    found = [
        f"'{option}[{_quoted(_help(action))}]{_zsh_value(action)}'" for action in parser.declared() for option in action.option_strings
    ]
    return found + [
        f"'1:{action.dest}:({' '.join(map(str, action.choices))})'"
        for action in parser.declared()
        if not action.option_strings and action.choices
    ]


def _zsh_value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    return f":{action.dest}:({' '.join(map(str, action.choices))})" if action.choices else f":{action.dest}:_files"


def _fish(command: Parser) -> str:
    lines = ["# fish completion for edgefer"]
    for name, summary, verb in command.verbs():
        lines.append(f"complete -c edgefer -n __fish_use_subcommand -a {name} -d '{_quoted(summary)}'")
        seen = f"-n '__fish_seen_subcommand_from {name}'"
        for action in verb.declared():
            flags = [f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}" for option in action.option_strings]
            value = f" -x -a '{' '.join(map(str, action.choices))}'" if action.choices else " -r" if action.nargs != 0 else ""
            if flags:
                lines.append(f"complete -c edgefer {seen} {' '.join(flags)}{value} -d '{_quoted(_help(action))}'")
            elif action.choices:
                lines.append(f"complete -c edgefer {seen} -x -a '{' '.join(map(str, action.choices))}'")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A text inside single quotes and inside the brackets of zsh."""
    return re.sub(r"([\[\]:])", r"\\\1", text.replace("'", "’"))


def _help(action: argparse.Action) -> str:
    return (action.help or "").replace("%%", "%")


def _man(command: Parser) -> str:
    parts = [
        ".\\\" Made by 'edgefer completion man'.",
        '.TH EDGEFER 1 "" "edgefer" "User commands"',
        ".SH NAME",
        f"edgefer \\- {_roff(command.description or '').rstrip('.')}",
        ".SH SYNOPSIS",
        ".B edgefer",
        ".I VERB",
        "[options]",
        ".SH OPTIONS",
        *_man_options(command),
    ]
    for name, _, verb in command.verbs():
        parts += [f'.SH "edgefer {_roff(name)}"', _roff(verb.description or ""), *_man_options(verb)]
        for action, summary, each in verb.verbs():
            parts += [".TP", f".B {_roff(name)} {_roff(action)}", _roff(summary), *_man_options(each)]
        if verb.epilog:
            parts += [".PP", ".nf", _roff(verb.epilog.rstrip()), ".fi"]
    return "\n".join([*parts, ".SH FILES", "/etc/edgefer/config.toml", ""])


def _man_options(parser: Parser) -> list[str]:
    lines = []
    for action in parser.declared():
        if isinstance(action, argparse._SubParsersAction | argparse._HelpAction):
            continue
        value = action.metavar if isinstance(action.metavar, str) else "|".join(map(str, action.choices or ()))
        names = ", ".join(action.option_strings) or action.dest
        shown = f".B {_roff(names)}" + (f" \\fI{_roff(value)}\\fR" if value and action.nargs != 0 else "")
        lines += [".TP", shown, _roff(_help(action))]
    return lines


def _roff(text: str) -> str:
    """A text as roff takes it literally."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = re.sub(r"[^\x00-\x7f]", lambda found: f"\\[u{ord(found[0]):04X}]", text)
    return re.sub(r"(?m)^([.'])", r"\\&\1", text)


SCRIPTS: dict[str, Callable[[Parser], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish, "man": _man}
"""Shell -> what makes its script."""
