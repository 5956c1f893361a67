"""DNS on the wire: questions over UDP and TCP, answers from the zone, the rest forwarded to the host's own resolvers.

Packets are dnslib's business. Only here are DNS sockets opened. A forwarder that does not answer costs its question, never
another's: each question is its own task, and their number is bounded.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import trio
from dnslib import AAAA, CNAME, NS, PTR, QTYPE, RCODE, RR, SOA, SRV, TXT, A, DNSHeader, DNSRecord
from dnslib.dns import DNSError

from edgekube.network.dns.zone import Answer, Record, Zone

TTL_S = 5  # upstream's default for cluster records
UPSTREAM_WAIT_S = 2.0
UPSTREAM_TRIES = 2
QUESTIONS_AT_ONCE = 256
UDP_PLAIN_MOST_BYTES = 512
UDP_MOST_BYTES = 1232  # the DNS flag day's advice
TCP_IDLE_S = 10.0


def upstreams(resolv_conf: Path, never: Sequence[str] = ()) -> list[str]:
    """The name servers a resolv.conf lists, without ourselves."""
    try:
        text = resolv_conf.read_text()
    except OSError:
        return []
    found = re.findall(r"^\s*nameserver\s+(\S+)", text, re.MULTILINE)
    return [address for address in found if address not in never][:3]


def to_packet(question: DNSRecord, answer: Answer, domain: str) -> DNSRecord:
    """The reply to a question in our zone."""
    code = RCODE.NOERROR if answer.exists else RCODE.NXDOMAIN
    header = DNSHeader(id=question.header.id, qr=1, aa=1, rd=question.header.rd, ra=1, rcode=code)
    reply = DNSRecord(header, q=question.q)
    records = list(answer.records)
    random.shuffle(records)
    for record in records:
        reply.add_answer(_to_rr(record))
    for record in answer.extra:
        reply.add_ar(_to_rr(record))
    if not answer.records:
        times = (1, 7200, 1800, 86400, TTL_S)
        reply.add_auth(RR(domain, QTYPE.SOA, ttl=TTL_S, rdata=SOA(f"ns.dns.{domain}", f"hostmaster.{domain}", times)))
    return reply


def _to_rr(record: Record) -> RR:
    data: Any
    if isinstance(record.data, tuple):
        data = SRV(*record.data)
    else:
        makers: dict[str, Callable[[str], Any]] = {
            "A": A, "AAAA": AAAA, "PTR": PTR, "CNAME": CNAME, "TXT": TXT, "NS": NS,
        }  # fmt: skip
        data = makers[record.type](record.data)
    return RR(record.name, getattr(QTYPE, record.type), ttl=TTL_S, rdata=data)


class DnsServer:
    """Answers while `serve` runs. `zone` is asked for anew at each question, so it may be swapped at any time."""

    def __init__(self, zone: Callable[[], Zone], forward_to: Callable[[], Sequence[str]], *, port: int = 53) -> None:
        self._zone = zone
        self._forward_to = forward_to
        self._port = port
        self.questions = 0
        self.forwarded = 0
        self._slots = trio.CapacityLimiter(QUESTIONS_AT_ONCE)

    async def serve(self, address: str, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen on UDP and TCP; started with the bound port."""
        udp = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
        with udp:
            udp.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_REUSEADDR, 1)
            await udp.bind((address, self._port))
            port: int = udp.getsockname()[1]
            listeners = await trio.open_tcp_listeners(port, host=address)
            async with trio.open_nursery() as nursery:
                await nursery.start(trio.serve_listeners, self._serve_tcp, listeners)
                task_status.started(port)
                while True:
                    try:
                        packet, peer = await udp.recvfrom(4096)
                    except OSError:
                        continue  # an earlier answer bounced (ICMP unreachable); not this question's problem
                    if self._slots.available_tokens > 0:
                        self._slots.acquire_on_behalf_of_nowait(packet_token := object())
                        nursery.start_soon(self._answer_udp, udp, packet, peer, packet_token)

    async def _answer_udp(self, udp: trio.socket.SocketType, packet: bytes, peer: Any, token: object) -> None:
        try:
            reply = await self.reply(packet, tcp=False)
            if reply is not None:
                try:
                    await udp.sendto(reply, peer)
                except OSError:
                    pass  # the asker went away
        finally:
            self._slots.release_on_behalf_of(token)

    async def _serve_tcp(self, stream: trio.SocketStream) -> None:
        buffer = bytearray()
        with trio.CancelScope() as scope:
            async with stream:
                while True:
                    scope.deadline = trio.current_time() + TCP_IDLE_S
                    while len(buffer) < 2 or len(buffer) < 2 + int.from_bytes(buffer[:2], "big"):
                        try:
                            more = await stream.receive_some(65536)
                        except trio.BrokenResourceError:
                            return
                        if not more:
                            return
                        buffer += more
                    length = int.from_bytes(buffer[:2], "big")
                    packet = bytes(buffer[2 : 2 + length])
                    del buffer[: 2 + length]
                    reply = await self.reply(packet, tcp=True)
                    if reply is None:
                        return
                    try:
                        await stream.send_all(len(reply).to_bytes(2, "big") + reply)
                    except trio.BrokenResourceError:
                        return

    async def reply(self, packet: bytes, *, tcp: bool) -> bytes | None:
        """The answer's bytes, or None for what is not a question."""
        try:
            question = DNSRecord.parse(packet)
            name, kind = str(question.q.qname), QTYPE.get(question.q.qtype)
        except (DNSError, IndexError, ValueError, UnicodeError):
            return None
        if question.header.qr or not question.questions:
            return None
        self.questions += 1
        zone = self._zone()
        answer = zone.answer(name, kind)
        if answer is None:
            return await self._forward(question, packet, tcp=tcp)
        packet_out: bytes = (await self._chase(to_packet(question, answer, zone.domain), kind)).pack()
        if not tcp and len(packet_out) > _room(question):
            short = question.reply()
            short.header.tc = 1
            packet_out = short.pack()
        return packet_out

    async def _chase(self, reply: DNSRecord, kind: str) -> DNSRecord:
        """An ExternalName answers with a CNAME; resolvers expect its addresses with it."""
        names = [str(rr.rdata.label) for rr in reply.rr if rr.rtype == QTYPE.CNAME]
        if names and kind in ("A", "AAAA"):
            inner = DNSRecord.question(names[0], kind)
            found = await self.reply(inner.pack(), tcp=True)
            if found:
                for rr in DNSRecord.parse(found).rr:
                    reply.add_answer(rr)
        return reply

    async def _forward(self, question: DNSRecord, packet: bytes, *, tcp: bool) -> bytes | None:
        servers = self._forward_to()
        self.forwarded += 1
        for server in [*servers] * UPSTREAM_TRIES:
            with trio.move_on_after(UPSTREAM_WAIT_S):
                try:
                    return await (_ask_tcp if tcp else _ask_udp)(server, packet)
                except (OSError, trio.BrokenResourceError):
                    continue
        refusal = question.reply()
        refusal.header.rcode = RCODE.SERVFAIL
        packed: bytes = refusal.pack()
        return packed


def _room(question: DNSRecord) -> int:
    for rr in question.ar:
        if rr.rtype == QTYPE.OPT:
            return max(UDP_PLAIN_MOST_BYTES, min(int(rr.rclass), UDP_MOST_BYTES))
    return UDP_PLAIN_MOST_BYTES


async def _ask_udp(server: str, packet: bytes) -> bytes:
    family = trio.socket.AF_INET6 if ":" in server else trio.socket.AF_INET
    with trio.socket.socket(family, trio.socket.SOCK_DGRAM) as outgoing:
        await outgoing.connect((server, 53))
        await outgoing.send(packet)
        while True:
            answer: bytes = await outgoing.recv(65535)
            if answer[:2] == packet[:2]:
                return answer


async def _ask_tcp(server: str, packet: bytes) -> bytes:
    stream = await trio.open_tcp_stream(server, 53)
    async with stream:
        await stream.send_all(len(packet).to_bytes(2, "big") + packet)
        buffer = bytearray()
        while len(buffer) < 2 or len(buffer) < 2 + int.from_bytes(buffer[:2], "big"):
            more = await stream.receive_some(65536)
            if not more:
                raise OSError("closed early")
            buffer += more
        return bytes(buffer[2 : 2 + int.from_bytes(buffer[:2], "big")])
