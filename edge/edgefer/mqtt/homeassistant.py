"""Home Assistant's MQTT discovery: one retained message that lists a device's entities."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from edgefer.mqtt.connection import Message
from edgefer.mqtt.device import FACE_APPEARED, FACE_LEFT, Topics
from edgefer.types import NO_FACE, UNCERTAIN, Model

CAMERA_STATES = ("live", "starting", "silent", "frozen", "blocked", "missing", "paused")
_WELL = ("live", "starting", "paused")
"""States of a camera that are no problem."""
Entity = dict[str, object]


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What Home Assistant shows of a device; empty: left out."""

    version: str
    name: str = ""
    """Of the device; empty: its base and node."""
    area: str = ""
    board: str = ""
    serial: str = ""
    page_url: str = ""
    """Address of the web page, for other machines."""
    thermometer: bool = True
    """Whether the board measures its temperature."""
    privacy_levels: Sequence[str] = ()
    """What the web page may show; empty: there is no page."""
    updates: bool = False
    """Whether models are updated over the air."""
    image: bool = False
    """Whether pictures are sent."""


def birth_topic(prefix: str) -> str:
    """Topic on which Home Assistant publishes ``online`` when it starts; devices then publish `discovery` again."""
    return f"{prefix}/status"


def discovery(prefix: str, topics: Topics, model: Model, facts: DeviceFacts) -> Message:
    """The device, its entities, and their topics.

    Old Cores make entity ids of the names of the device and the entity, new ones of ``default_entity_id`` where it is given: both give
    the same, since the key of a component is the slug of its name.
    """
    name = facts.name or f"{topics.base.replace('/', ' ')} {topics.node}"
    components = _states(topics, model, facts) | _controls(topics, facts)
    for key, entity in components.items():
        entity["unique_id"] = f"{topics.id}_{key}"
        if name.isascii():  # Home Assistant transliterates other scripts
            entity["default_entity_id"] = f"{entity['platform']}.{slug(f'{name} {key}')}"
    removed = {key: {"platform": platform} for key, platform in _OPTIONAL.items() if key not in components}
    hardware = re.search(r"Rev ([\w.]+)$", facts.board)
    device = {
        "identifiers": [topics.id],
        "name": name,
        "manufacturer": "edgefer",
        "model": facts.board.partition(" Rev ")[0],
        "hw_version": hardware[1] if hardware else "",
        "serial_number": facts.serial,
        "sw_version": facts.version,
        "suggested_area": facts.area,
        "configuration_url": facts.page_url,
    }
    payload = {
        "device": {key: value for key, value in device.items() if value},
        "origin": {"name": "edgefer", "sw_version": facts.version},
        "components": {**components, **removed, **_triggers(topics, model)},
        "availability_topic": topics.status,
        "state_topic": topics.state,
        "qos": 1,
    }
    return Message(discovery_topic(prefix, topics.id), msgspec.json.encode(payload), retain=True)


def discovery_topic(prefix: str, device_id: str) -> str:
    """Topic of a device's discovery message."""
    return f"{prefix}/device/{device_id}/config"


def slug(name: str) -> str:
    """As Home Assistant makes an entity id of an ASCII name."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


_OPTIONAL = {"temperature": "sensor", "privacy": "select", "model_update": "update", "image": "image"}
"""Entities that not every device has, with their platforms: one left out would stay in Home Assistant, one with its platform alone goes."""
_DIAGNOSTIC = {"entity_category": "diagnostic"}
_RARE = {"enabled_by_default": False}


def _states(topics: Topics, model: Model, facts: DeviceFacts) -> dict[str, Entity]:
    """Entities that show something. An ``enum`` sensor must not have a unit or a state class."""
    expressions = [*model.labels, UNCERTAIN]
    measured = {"state_class": "measurement"}
    entities: dict[str, Entity] = {
        "expression": {"platform": "sensor", "name": "Expression", "device_class": "enum", "options": [*expressions, NO_FACE],
                       "icon": "mdi:emoticon-outline", "value_template": _known("value_json.expression")},
        "score": {"platform": "sensor", "name": "Score", "unit_of_measurement": "%", **measured, "icon": "mdi:percent-outline",
                  "suggested_display_precision": 0,
                  "value_template": "{{ None if value_json.score is none else (100 * value_json.score) | round(1) }}"},
        "faces": {"platform": "sensor", "name": "Faces", **measured, "icon": "mdi:account-multiple",
                  "value_template": _known("value_json.faces")},
        "present": {"platform": "binary_sensor", "name": "Present", "device_class": "occupancy",
                    "value_template": _known("'ON' if value_json.faces > 0 else 'OFF'")},
        "camera": {"platform": "binary_sensor", "name": "Camera", "device_class": "problem", **_DIAGNOSTIC,
                   "value_template": f"{{{{ 'OFF' if value_json.camera in {_WELL} else 'ON' }}}}"},
        "camera_state": {"platform": "sensor", "name": "Camera state", "device_class": "enum", "options": list(CAMERA_STATES),
                         **_DIAGNOSTIC, "icon": "mdi:camera", "value_template": "{{ value_json.camera }}"},
        # Off at first: a lively face would fill the recorder. The device triggers below do without.
        "event": {"platform": "event", "name": "Event", **_RARE, "state_topic": topics.event, "icon": "mdi:emoticon-excited-outline",
                  "event_types": [*expressions, FACE_APPEARED, FACE_LEFT],
                  # Every other attribute would be a row in the recorder.
                  "value_template": '{"event_type": "{{ value_json.event_type }}"}'},
        "mix": {"platform": "sensor", "name": "Mix", **_RARE, "icon": "mdi:chart-donut",
                "value_template": _known("value_json.mix | list | first"), "json_attributes_topic": topics.state,
                "json_attributes_template": "{{ {'mix': value_json.mix, 'scores': value_json.scores} | tojson }}"},
        "fps": {"platform": "sensor", "name": "FPS", "unit_of_measurement": "fps", **measured, **_DIAGNOSTIC, "icon": "mdi:speedometer",
                "value_template": "{{ value_json.fps }}"},
        "model": {"platform": "sensor", "name": "Model", **_DIAGNOSTIC, "icon": "mdi:brain",
                  "value_template": "{{ value_json.model ~ ' ' ~ value_json.model_sha256[:12] if value_json.model else None }}"},
    }  # fmt: skip
    if facts.thermometer:
        entities["temperature"] = {
            "platform": "sensor", "name": "Temperature", "device_class": "temperature", "unit_of_measurement": "°C", **measured,
            **_DIAGNOSTIC, "value_template": "{{ value_json.temperature_c }}",
        }  # fmt: skip
    return entities


def _controls(topics: Topics, facts: DeviceFacts) -> dict[str, Entity]:
    """Entities that change something, and those that an option adds."""
    entities: dict[str, Entity] = {
        "pause": {"platform": "switch", "name": "Pause", "icon": "mdi:pause", "state_topic": topics / "pause",
                  "command_topic": topics / "pause/set"},
    }  # fmt: skip
    if facts.privacy_levels:
        entities["privacy"] = {
            "platform": "select", "name": "Privacy", "entity_category": "config", "icon": "mdi:incognito",
            "options": list(facts.privacy_levels), "state_topic": topics / "privacy", "command_topic": topics / "privacy/set",
        }  # fmt: skip
    if facts.updates:
        entities["model_update"] = {
            "platform": "update", "name": "Model update", **_DIAGNOSTIC,
            "value_template": "{{ {'installed_version': value_json.model_sha256[:12] or None} | tojson }}",
            "latest_version_topic": topics / "update/status", "latest_version_template": "{{ value_json.sha256[:12] }}",
        }  # fmt: skip
    if facts.image:
        entities["image"] = {
            "platform": "image", "name": "Image", **_RARE, "image_topic": topics / "image", "content_type": "image/jpeg",
        }  # fmt: skip
    return entities


def _triggers(topics: Topics, model: Model) -> dict[str, Entity]:
    """Device triggers, for automations made with the mouse: one for each type of event."""
    return {
        f"trigger_{slug(kind)}": {
            "platform": "device_automation", "automation_type": "trigger", "type": "expression", "subtype": kind, "topic": topics.event,
            "payload": kind, "value_template": "{{ value_json.event_type }}",
        }
        for kind in [*model.labels, UNCERTAIN, FACE_APPEARED, FACE_LEFT]
    }  # fmt: skip


def _known(value: str) -> str:
    """A template that gives ``unknown`` unless the camera is live."""
    return f"{{{{ ({value}) if value_json.camera == 'live' else None }}}}"
