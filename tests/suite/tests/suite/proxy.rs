//! A way to the API server that does what a test wants to the bytes on it.

use crate::scene::Scene;
use anyhow::{Result, ensure};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// What becomes of a piece of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It goes on.
    Pass,
    /// It is lost, and nobody is told.
    Lost,
}

/// Decides about each piece of one direction of one connection; may take its time.
pub(crate) type Rule = Box<dyn FnMut() -> Result<Fate> + Send>;

/// The two directions of one connection.
pub(crate) struct Rules {
    /// What the host says.
    pub(crate) asked: Rule,
    /// What the API server says.
    pub(crate) answered: Rule,
}

/// A running proxy; ends with the process.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    near: String,
    far: String,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    /// A way to the API server of this scene. Each new connection asks for its rules; without any
    /// it is closed at once.
    pub(crate) fn start(
        scene: &Scene,
        rules: impl Fn() -> Option<Rules> + Send + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let proxy = Self {
            near: format!("https://{}", listener.local_addr()?),
            far: scene.plane.url(),
            open: Arc::default(),
        };
        let running = proxy.clone();
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if let Some(rules) = rules() {
                    let _ = running.join(near, rules);
                }
            }
        });
        Ok(proxy)
    }

    /// Makes the kubeconfig of a scene's host lead here; its path.
    pub(crate) fn lead(&self, scene: &Scene) -> Result<PathBuf> {
        lead(scene, &self.near)
    }

    /// Closes all connections.
    pub(crate) fn close(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Copies both ways, each on a thread of its own.
    fn join(&self, near: TcpStream, rules: Rules) -> Result<()> {
        let far = TcpStream::connect(self.far.trim_start_matches("https://"))?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        self.open
            .lock()
            .unwrap()
            .extend([near.try_clone()?, far.try_clone()?]);
        let (to_far, to_near) = (far.try_clone()?, near.try_clone()?);
        let Rules { asked, answered } = rules;
        std::thread::spawn(move || copy(near, to_far, asked));
        std::thread::spawn(move || copy(far, to_near, answered));
        Ok(())
    }
}

/// Makes the kubeconfig of a scene's host lead to this URL; its path.
pub(crate) fn lead(scene: &Scene, url: &str) -> Result<PathBuf> {
    let file = scene.plane.kubeconfig(&scene.user)?;
    let text = std::fs::read_to_string(&file)?;
    ensure!(text.contains(&scene.plane.url()), "{text}");
    std::fs::write(&file, text.replace(&scene.plane.url(), url))?;
    Ok(file)
}

/// A kubeconfig of the same user that leads to this URL, for another replica.
pub(crate) fn another(scene: &Scene, url: &str) -> Result<PathBuf> {
    let file = lead(scene, url)?;
    let another = file.with_extension("another");
    std::fs::rename(file, &another)?;
    Ok(another)
}

/// Copies until one side ends, which the other side is told unless all is lost between them.
fn copy(mut from: TcpStream, mut to: TcpStream, mut rule: Rule) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).unwrap_or_default();
        let fate = rule()?;
        if read == 0 {
            if fate == Fate::Pass {
                let _ = to.shutdown(Shutdown::Both);
            }
            return Ok(());
        }
        if fate == Fate::Pass {
            to.write_all(&buffer[..read])?;
        }
    }
}
