"""Home Assistant's MQTT discovery: one retained message that lists a device's entities."""

from __future__ import annotations

import msgspec

from edgefer.mqtt.connection import Message
from edgefer.mqtt.device import FACE_APPEARED, FACE_LEFT, Topics
from edgefer.types import NO_FACE, UNCERTAIN, Model


def birth_topic(prefix: str) -> str:
    """Topic on which Home Assistant publishes ``online`` when it starts; devices then publish `discovery` again."""
    return f"{prefix}/status"


def discovery(prefix: str, topics: Topics, model: Model, version: str, board: str) -> Message:
    """The device, its entities, and their topics.

    Home Assistant 2026.4 removed ``object_id``: ``default_entity_id`` holds the entity id with its domain. An ``enum`` sensor must not
    have a unit or a state class.
    """
    expressions = [*model.labels, UNCERTAIN]
    diagnostic = {"entity_category": "diagnostic"}
    measured = {"state_class": "measurement"}
    entities: dict[str, dict[str, object]] = {
        "expression": {"platform": "sensor", "name": "Expression", "device_class": "enum", "options": [*expressions, NO_FACE],
                       "icon": "mdi:emoticon-outline", "value_template": "{{ value_json.expression }}"},
        "score": {"platform": "sensor", "name": "Confidence", "unit_of_measurement": "%", **measured, "icon": "mdi:percent-outline",
                  "value_template": "{{ None if value_json.score is none else (100 * value_json.score) | round(1) }}"},
        "faces": {"platform": "sensor", "name": "Faces", **measured, "icon": "mdi:account-multiple",
                  "value_template": "{{ value_json.faces }}"},
        "present": {"platform": "binary_sensor", "name": "Face", "device_class": "occupancy",
                    "value_template": "{{ 'ON' if value_json.faces > 0 else 'OFF' }}"},
        "camera": {"platform": "binary_sensor", "name": "Camera", "device_class": "problem", **diagnostic,
                   "value_template": "{{ 'OFF' if value_json.camera == 'live' else 'ON' }}"},
        "event": {"platform": "event", "name": "Change", "state_topic": topics.event, "icon": "mdi:emoticon-excited-outline",
                  "event_types": [*expressions, FACE_APPEARED, FACE_LEFT]},
        "fps": {"platform": "sensor", "name": "Frame rate", "unit_of_measurement": "fps", **measured, **diagnostic,
                "icon": "mdi:speedometer", "value_template": "{{ value_json.fps }}"},
        "temperature": {"platform": "sensor", "name": "Temperature", "device_class": "temperature", "unit_of_measurement": "°C", **measured,
                        **diagnostic, "value_template": "{{ value_json.temperature_c }}"},
        "model": {"platform": "sensor", "name": "Model", **diagnostic, "icon": "mdi:brain",
                  "value_template": "{{ value_json.model }} {{ value_json.model_sha256[:12] }}"},
    }  # fmt: skip
    for name, entity in entities.items():
        entity |= {"unique_id": f"{topics.id}_{name}", "default_entity_id": f"{entity['platform']}.{topics.id}_{name}".lower()}
    payload = {
        "device": {
            "identifiers": [topics.id],
            "name": f"edgefer {topics.node}",
            "manufacturer": "edgefer",
            "model": board,
            "sw_version": version,
        },
        "origin": {"name": "edgefer", "sw_version": version},
        "components": entities,
        "availability_topic": topics.status,
        "state_topic": topics.state,
        "qos": 1,
    }
    return Message(f"{prefix}/device/{topics.id}/config", msgspec.json.encode(payload), retain=True)
