# SPDX-License-Identifier: Apache-2.0
"""A serial line of our own: exclusive, raw, and without side effects.

8 data bits, no parity, one stop bit, no flow control. Nobody else may open the device
meanwhile. DTR and RTS are left as they are: on many boards they mean "reset".
"""

import contextlib
import errno
import fcntl
import os
import termios
from typing import Final

import serial

from firmware_bridge.errors import BusyLineError, LineError

_READ_BYTES: Final = 4096
_BUSY: Final = {errno.EBUSY, errno.EAGAIN}
_CONTROL_MODES: Final = 2  # places in what tcgetattr returns
_CHARACTERS: Final = 6


class _QuietSerial(serial.Serial):  # type: ignore[misc] # pyserial has no types
    """pyserial sets DTR and RTS on opening; ours does not.

    A test watches the system calls, so a pyserial that does it elsewhere is noticed.
    """

    def _update_dtr_state(self) -> None:
        pass

    def _update_rts_state(self) -> None:
        pass


class SerialLine:
    """An open line.

    Args:
        device: Its path.
        baud: Bits per second.

    Raises:
        BusyLineError: If somebody else has it open.
        LineError: If there is no such device, or it is none.
    """

    def __init__(self, device: str, *, baud: int) -> None:
        try:
            self._serial = _QuietSerial(
                device,
                baudrate=baud,
                bytesize=serial.EIGHTBITS,
                parity=serial.PARITY_NONE,
                stopbits=serial.STOPBITS_ONE,
                timeout=0,
                write_timeout=0,
                xonxoff=False,
                rtscts=False,
                dsrdtr=False,
                exclusive=True,
            )
        except (serial.SerialException, OSError, ValueError) as error:
            busy = getattr(error, "errno", None) in _BUSY
            kind = BusyLineError if busy else LineError
            raise kind(f"the serial line can not be opened: {error}") from error
        os.set_blocking(self.fileno(), False)
        fcntl.ioctl(self.fileno(), termios.TIOCEXCL)  # pyserial's lock is advisory
        self._settle()

    def _settle(self) -> None:
        """Tell nothing yet (EAGAIN) from gone (no bytes); keep DTR up on closing."""
        settings = termios.tcgetattr(self.fileno())
        settings[_CONTROL_MODES] &= ~termios.HUPCL
        settings[_CHARACTERS][termios.VMIN] = 1
        termios.tcsetattr(self.fileno(), termios.TCSANOW, settings)

    def fileno(self) -> int:
        """Return the descriptor, for the event loop."""
        return int(self._serial.fileno())

    def read(self) -> bytes:
        """Return what has come; nothing if nothing has.

        Returns:
            At most 4096 bytes.

        Raises:
            LineError: If the line is gone.
        """
        try:
            data = os.read(self.fileno(), _READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise LineError(f"the serial line broke: {error}") from error
        if not data:
            raise LineError("the serial line was unplugged")
        return data

    def write(self, data: bytes) -> int:
        """Send what the system takes now.

        Args:
            data: Any bytes.

        Returns:
            How many were taken.

        Raises:
            LineError: If the line is gone.
        """
        try:
            return os.write(self.fileno(), data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise LineError(f"the serial line broke: {error}") from error

    def close(self) -> None:
        """Give the device back."""
        with contextlib.suppress(serial.SerialException, OSError):
            fcntl.ioctl(self.fileno(), termios.TIOCNXCL)
        with contextlib.suppress(serial.SerialException, OSError):
            self._serial.close()
