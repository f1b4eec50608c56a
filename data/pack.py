"""Pack a folder made by `mnistlab data import-idx` into an archive: the same bytes every time.

    python data/pack.py FOLDER ARCHIVE.tgz

Members are sorted, owned by nobody, dated 1970 and stored under `mnist_sample/`; the SHA-256 goes
beside the archive. `make archive MNIST=<folder of MNIST's own files>` runs both steps.
"""

import gzip
import hashlib
import io
import sys
import tarfile
from pathlib import Path


def pack(folder: Path, archive: Path) -> str:
    """Write `archive` and `archive.sha256`; the digest."""
    unzipped = io.BytesIO()
    with tarfile.open(fileobj=unzipped, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            member = tarfile.TarInfo(f"mnist_sample/{path.relative_to(folder).as_posix()}")
            member.size = path.stat().st_size
            member.mode = 0o644
            with path.open("rb") as file:
                tar.addfile(member, file)
    content = gzip.compress(unzipped.getvalue(), compresslevel=9, mtime=0)
    digest = hashlib.sha256(content).hexdigest()
    archive.write_bytes(content)
    archive.with_name(archive.name + ".sha256").write_text(f"{digest}  {archive.name}\n")
    return digest


if __name__ == "__main__":
    print(pack(Path(sys.argv[1]), Path(sys.argv[2])))
