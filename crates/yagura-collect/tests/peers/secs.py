"""An equipment for the tests, of secsgem: `secs.py active|passive PORT FIRST [T3 [LOG]]`.

It numbers its events from FIRST on, and says "acked N" when the host has acknowledged event N; an event that was not
acknowledged is sent again. Commands come on standard input, one a line: `run`, `alarm N`, `trace N`, `recipe`, `quit`.
"""
import logging
import sys
import threading
import time

import secsgem.common
import secsgem.gem
import secsgem.hsms
import secsgem.secs

mode, port, first = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
t3 = float(sys.argv[4]) if len(sys.argv) > 4 else 5.0
if len(sys.argv) > 5:
    handler = logging.FileHandler(sys.argv[5])
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s: %(message)s"))
    logging.getLogger("communication").addHandler(handler)
    logging.getLogger("communication").setLevel(logging.INFO)
    logging.getLogger("communication").propagate = False
    logging.Formatter.converter = time.gmtime
else:
    logging.disable(logging.CRITICAL)
lock = threading.Lock()


def say(text):
    with lock:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


class Equipment(secsgem.gem.GemEquipmentHandler):
    def __init__(self, settings):
        super().__init__(settings)
        self._mdln, self._softrev = "ETCHER", "4.2"
        self.status_variables.clear()
        for number, name, unit in [(11, "ChamberPressure", "mTorr"), (12, "Temperature", "degC")]:
            variable = secsgem.gem.StatusVariable(number, name, unit, secsgem.secs.variables.F4, use_callback=False)
            variable.value = number + 0.5
            self.status_variables[number] = variable


settings = secsgem.hsms.HsmsSettings(
    address="127.0.0.1",
    port=port,
    connect_mode=secsgem.hsms.HsmsConnectMode.PASSIVE if mode == "passive" else secsgem.hsms.HsmsConnectMode.ACTIVE,
    device_type=secsgem.common.DeviceType.EQUIPMENT,
    session_id=3,
    establish_communication_timeout=1,
)
settings.timeouts.t3 = t3
settings.timeouts.t5 = 1.0
equipment = Equipment(settings)
function = equipment.stream_function
# Most equipment wants its alarms and traces acknowledged.
for reported in [function(5, 1), function(6, 1)]:
    reported._is_reply_required = True


def acknowledged(message):
    """Whether the host acknowledged a message. Sending over a connection that just broke may never return."""
    replies = []

    def ask():
        try:
            replies.append(equipment.send_and_waitfor_response(message))
        except Exception:
            pass

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(t3 + 1)
    return bool(replies) and replies[0] is not None and replies[0].header.function != 0


def event(number):
    values = [secsgem.secs.variables.U4(number), secsgem.secs.variables.F4(1.5)]
    return function(6, 11)({"DATAID": 1, "CEID": 50, "RPT": [{"RPTID": 1000, "V": values}]})


def run():
    number = first
    while True:
        if not equipment.waitfor_communicating(1.0):
            continue
        if acknowledged(event(number)):
            say(f"acked {number}")
            number += 1
        else:
            threading.Event().wait(0.05)


equipment.enable()
say("enabled")
for line in sys.stdin:
    command = line.split()
    if command[0] == "quit":
        break
    if command[0] == "run":
        threading.Thread(target=run, daemon=True).start()
        continue
    equipment.waitfor_communicating(15.0)
    if command[0] == "alarm":
        alarm = {"ALCD": 129, "ALID": int(command[1]), "ALTX": "chamber door"}
        say(f"alarm {acknowledged(function(5, 1)(alarm))}")
    elif command[0] == "trace":
        values = [secsgem.secs.variables.F4(2.5), secsgem.secs.variables.F4(3.5)]
        trace = {"TRID": int(command[1]), "SMPLN": 1, "STIME": "2026112610000000", "SV": values}
        say(f"trace {acknowledged(function(6, 1)(trace))}" if function(6, 1) else "trace None")
    elif command[0] == "recipe":
        say(f"recipe {acknowledged(function(7, 3)({'PPID': 'OX', 'PPBODY': 'secret'}))}")
equipment.disable()
